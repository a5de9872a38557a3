let data = null, shown = null, asking = false, found = null;

const short = (count) => {
  const [unit, step] = [["B", 1e9], ["M", 1e6], ["K", 1e3]].find(([, least]) => count >= least) ?? ["", 1];
  return `${(count / step).toFixed(step > 1 ? 1 : 0)} ${unit}`.trim();
};

// A module and what is in it, unfolded by a click.
const branch = ({ name, kind, parameters, shapes, children }) => {
  const label = make("span", "gb-module");
  label.append(make("b", "", name === kind ? "Modules" : name), make("span", "gb-soft", ` ${kind} · ${short(parameters)}`));
  const own = shapes.map(([key, shape]) => make("p", "gb-soft gb-shape", `${key} ${shape.join(" × ")}`));
  if (!children.length && !own.length) return label;
  const node = make("details", "gb-branch"), head = make("summary");
  head.append(label);
  node.append(head, ...own);
  node.addEventListener("toggle", () => { if (node.childElementCount === 1 + own.length) node.append(...children.map(branch)); });
  return node;
};

const arrow = ({ name, shape, letters, meaning }) => {
  const node = make("div", "gb-edge");
  node.append(make("i", "", "↓"), make("b", "", shape.map(number).join(" × ")), make("span", "gb-soft", `${name} (${letters}): ${meaning}`));
  return node;
};

const box = ({ name, meaning, parameters, nbytes, tree }, most) => {
  const node = make("div", "gb-card gb-stage-box");
  const head = make("div", "gb-stage-head");
  head.append(make("b", "", name));
  if (parameters) head.append(make("span", "", `${short(parameters)} parameters · ${memory(nbytes)}`));
  const bar = make("i", "gb-weight");
  bar.style.width = `${(100 * nbytes) / most}%`;
  node.append(head, ...(parameters ? [bar] : []), make("p", "gb-soft", meaning), ...tree.map(branch));
  node.dataset.stage = name;
  return node;
};

const showFamilies = (rows) => {
  const names = Object.keys(rows[0][1]);
  const line = (tag, texts) => {
    const node = make("tr");
    node.append(...texts.map((text) => make(tag, "", text)));
    return node;
  };
  find(".gb-families").replaceChildren(line("th", ["", ...names]), ...rows.map(([aspect, values, differs]) => {
    const node = line("td", [aspect, ...names.map((name) => values[name])]);
    if (differs) node.classList.add("gb-differs");
    return node;
  }));
  find(".gb-families-head").hidden = find(".gb-families-line").hidden = false;
};

const show = (got) => {
  find(".gb-note-line").textContent = got.error ?? "";
  find(".gb-diagram").replaceChildren();
  find(".gb-saves").hidden = Boolean(got.error);
  if (got.error) return;
  found = got;
  const most = Math.max(...got.stages.map(({ nbytes }) => nbytes));
  find(".gb-diagram").replaceChildren(...got.stages.flatMap((stage) => [box(stage, most), ...stage.out.map(arrow)]));
  showFamilies(got.families);
};

const look = async () => {
  if (!data || !element.clientWidth || shown === data.run || asking) return;
  [asking, shown] = [true, data.run];
  try {
    show((data.baked ? data.baked.stages : await server.ask({ run: data.run, what: "stages" })) ?? { error: "The app refused: wait a moment." });
  } catch {
    find(".gb-note-line").textContent = "The app does not answer: is it still running?";
  }
  asking = false;
  look(); // another turn may be shown by now
};

// ---- saving -------------------------------------------------------------------------------------
const saveStages = () => saveTable("glassbox-stages.csv", ["stage", "meaning", "parameters", "bytes", "out", "shape", "letters"],
  found.stages.flatMap(({ name, meaning, parameters, nbytes, out }) =>
    out.map((edge) => [name, meaning, parameters, nbytes, edge.name, edge.shape.join(" × "), edge.letters])));
const saveFamilies = () => {
  const names = Object.keys(found.families[0][1]);
  saveTable("glassbox-families.csv", ["aspect", ...names, "differs"],
    found.families.map(([aspect, values, differs]) => [aspect, ...names.map((name) => values[name]), differs ? "yes" : "no"]));
};
// The diagram as a picture: a card a stage, and under it what flows on.
const savePicture = () => {
  const sheet = make("canvas"), context = sheet.getContext("2d"), wide = 820, line = 24, card = 58;
  sheet.width = wide;
  sheet.height = 32 + found.stages.reduce((sum, { out }) => sum + card + line * out.length + 10, 0);
  const say = (text, x, y, ink, weight = 400) => {
    context.font = `${weight} 14px system-ui, sans-serif`;
    context.fillStyle = colour(ink);
    context.fillText(text, x, y, wide - x - 32);
    return x + context.measureText(text).width + 10;
  };
  context.fillStyle = colour("card");
  context.fillRect(0, 0, wide, sheet.height);
  let top = 16;
  found.stages.forEach(({ name, meaning, parameters, nbytes, out }) => {
    context.fillStyle = colour("sunk");
    context.fillRect(16, top, wide - 32, card);
    const right = say(name, 32, top + 24, "ink", 650);
    if (parameters) say(`${short(parameters)} parameters · ${memory(nbytes)}`, right, top + 24, "soft");
    say(meaning, 32, top + 46, "soft");
    top += card;
    out.forEach(({ shape, letters, name: what, meaning: words }) => {
      top += line;
      say(`${what} (${letters}): ${words}`, say("↓ " + shape.map(number).join(" × "), 40, top - 7, "ink", 650), top - 7, "soft");
    });
    top += 10;
  });
  sheet.toBlob((blob) => saveAs("glassbox-anatomy.png", "image/png", blob));
};
const savers = { png: savePicture, stages: saveStages, families: saveFamilies };
element.querySelectorAll("[data-save]").forEach((button) => button.addEventListener("click", () => savers[button.dataset.save]()));

keepDrawn((fresh) => { data = fresh; look(); }, look);
