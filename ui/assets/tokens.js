let data = null;

const box = (big, small) => {
  const node = make("div", "gb-step");
  node.append(make("b", "", big), make("span", "", small));
  return node;
};

const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : word.endsWith("ch") ? "es" : "s"}`;

const inWords = (medium) => {
  const { kind, frames, temporal, grid, cells, patch, merge, tokens } = medium;
  const patches = grid[0] * grid[1] * grid[2];
  const pairs = kind === "video"
    ? `${plural(frames, "frame")} make ${plural(grid[0], "temporal patch")} of ${temporal} frames each. ` : "";
  const times = kind === "video" ? `${grid[0]} × ` : "";
  return `${pairs}Cut into patches of ${patch} × ${patch} px: ${times}${grid[1]} × ${grid[2]} = ` +
    `${number(patches)} patches. Each ${merge} × ${merge} block merges into one token: ` +
    `${number(patches)} ÷ ${merge * merge} = ${number(tokens)} tokens.`;
};

const arithmetic = (medium) => {
  const card = make("div", "gb-card gb-medium gb-" + medium.kind);
  card.dataset.tokens = medium.tokens;
  const flow = make("div", "gb-flow");
  const clip = medium.kind === "video";
  const many = (grid) => (clip ? grid : grid.slice(1)).join(" × ");
  flow.append(
    box(medium.original.join(" × "), "original pixels"), box(medium.seen.join(" × "), "resized to"),
    box(many(medium.grid), clip ? "patches t × h × w" : "patches h × w"),
    box(many(medium.cells), "merged cells"), box(number(medium.tokens), "tokens"),
  );
  card.append(make("p", "gb-name", medium.name), flow, make("p", "gb-soft", inWords(medium)));
  medium.notes.forEach((note) => card.append(make("p", "gb-soft", note)));
  return card;
};

const legend = (kind, count) => {
  const item = make("span", "gb-" + kind);
  item.append(make("i", "gb-dot"), make("span", "", kind === "special" ? "control" : kind), make("b", "", number(count)));
  item.dataset.kind = kind;
  return item;
};

const slice = (kind, count) => {
  const part = make("i", "gb-" + kind);
  part.style.flexGrow = count;
  part.title = `${kind}: ${number(count)}`;
  return part;
};

const showContext = () => {
  const share = data.context ? data.total / data.context : 0;
  find(".gb-gauge i").style.width = Math.min(100, 100 * share).toFixed(2) + "%";
  find(".gb-gauge").classList.toggle("gb-full", share > 0.9);
  find(".gb-used").textContent = data.context
    ? `${number(data.total)} of ${number(data.context)} tokens used (${(100 * share).toFixed(1)} %), ` +
      `${number(Math.max(0, data.context - data.total))} left for the next turns.`
    : `${number(data.total)} tokens used.`;
};

const showReuse = () => {
  const { reused, computed } = data;
  const known = typeof reused === "number";
  find(".gb-reuse").replaceChildren(...(known ? [slice("reused", reused), slice("computed", computed)] : []));
  find(".gb-kept").textContent = known
    ? `${number(reused)} tokens were still in the cache from earlier turns, ${number(computed)} were computed.` : "Not known.";
  element.dataset.reused = known ? reused : "";
};

const row = (tag, texts) => {
  const node = make("tr");
  node.append(...texts.map((text) => make(tag, "", text)));
  return node;
};

// Under each medium's name a line a family; media of earlier models may have no figures.
const showElsewhere = () => {
  const known = data.media.filter((medium) => medium.elsewhere);
  find(".gb-elsewhere").hidden = known.length === 0;
  find(".gb-plain thead").replaceChildren(row("th", ["family", "seen at (px)", "merged cells", "tokens"]));
  find(".gb-plain tbody").replaceChildren(...known.flatMap((medium) => {
    const name = row("th", [medium.name]);
    name.firstChild.colSpan = 4;
    return [name, ...medium.elsewhere.map((other) => familyRow(medium.kind === "video", other))];
  }));
};

const familyRow = (clip, { family, seen, cells, tokens }) => {
  const line = row("td", [family, seen.join(" × "), (clip ? cells : cells.slice(1)).join(" × "), number(tokens)]);
  line.dataset.family = family;
  return line;
};

const load = (fresh) => {
  data = fresh;
  const shown = data.kinds.filter(([, count]) => count);
  element.dataset.total = data.total;
  find(".gb-arithmetic").replaceChildren(
    ...(data.media.length ? data.media.map(arithmetic) : [make("p", "gb-soft", "No picture or clip in this chat yet.")]),
  );
  find(".gb-bar").replaceChildren(...shown.map(([kind, count]) => slice(kind, count)));
  find(".gb-legend").replaceChildren(...shown.map(([kind, count]) => legend(kind, count)));
  showContext();
  showReuse();
  showElsewhere();
};

keepDrawn(load, () => {});
