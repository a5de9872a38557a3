// The rest of the Positions panel: the table of all tokens, and drawing it all.

// ---- the table: only the rows in view exist, so thousands of tokens scroll smoothly ----------------
const visible = (text) => text.replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/ /g, "␣");

const search = () => {
  const wanted = find(".gb-search").value.trim().toLowerCase();
  const all = data.tokens.map((_, i) => i);
  const kind = wanted === "control" ? "special" : wanted;
  rows = !wanted ? all : all.filter((i) =>
    String(i) === wanted || kinds[i] === kind || data.tokens[i].toLowerCase().includes(wanted));
  find(".gb-found").textContent = `${number(rows.length)} of ${number(all.length)}`;
  find(".gb-space").style.height = rows.length * ROW + "px";
  table.scrollTop = 0;
  drawRows();
};

const drawRows = () => {
  if (!data) return;
  const first = Math.max(0, Math.floor(table.scrollTop / ROW) - 4);
  const shown = rows.slice(first, first + Math.ceil(table.clientHeight / ROW) + 8);
  find(".gb-space").replaceChildren(...shown.map((index, i) => tableRow(index, (first + i) * ROW)));
  markRow();
};

const markRow = () => {
  find(".gb-at")?.classList.remove("gb-at");
  find(`[data-index="${at}"]`)?.classList.add("gb-at");
};

const tableRow = (index, top) => {
  const row = make("div", "gb-row gb-" + kinds[index]);
  row.setAttribute("role", "row");
  row.dataset.index = index;
  row.style.top = top + "px";
  const kind = kinds[index] === "special" ? "control" : kinds[index];
  [number(index), visible(data.tokens[index]), kind, data.t[index], data.h[index], data.w[index]].forEach((text) => {
    const part = make("span", "", text);
    part.setAttribute("role", "cell");
    row.append(part);
  });
  row.children[1].title = data.tokens[index];
  row.addEventListener("click", () => lookAt(index, true));
  return row;
};

find(".gb-csv").addEventListener("click", () => saveTable("positions.csv", ["index", "token", "kind", "t", "h", "w"],
  data.tokens.map((text, i) => [i, text, kinds[i], data.t[i], data.h[i], data.w[i]])));

find(".gb-search").addEventListener("input", search);
table.addEventListener("scroll", drawRows);

const drawAll = () => {
  if (!data || !element.clientWidth) return;
  drawMaps();
  drawChart();
  drawRows();
  showAt();
};

// What moves with the mouse; the pictures below stay as they are.
const showAt = () => {
  showMarks();
  showCursor();
  showRead();
  markRow();
};

const follow = () => (x && mapsKey() === shown.key ? showAt() : drawAll());

onCell(() => {
  if (!data || !data.media[shared.pick]) return;
  at = shared.cell === null ? null : tokenOf(shared);
  follow();
});
keepDrawn(load, drawAll);
