const AXES = [["t", []], ["h", [6, 4]], ["w", [1.5, 3]]]; // name and dash of its line
const ROW = 26; // pixels; also in style.css
const EDGE = { left: 38, right: 10, top: 10, bottom: 24 };
let data = null, kinds = [], rows = [], at = null;

const chart = find(".gb-chart"), table = find(".gb-rows"), maps = [...element.querySelectorAll(".gb-map")];
const chartLayer = layer(), mapLayers = maps.map(() => layer());
let version = 0; // of the data, so that layers of an earlier turn are not taken for this one's

const load = (fresh) => {
  data = { ...fresh, t: integers(fresh.t), h: integers(fresh.h), w: integers(fresh.w) };
  version += 1;
  kinds = [];
  data.spans.forEach(([kind, start, stop]) => kinds.fill(kind, start, (kinds.length = stop)));
  startOver(data);
  at = shared.cell === null ? null : tokenOf(shared);
  showLegend();
  showDelta();
  showFrequencies();
  search();
  drawAll();
};

const showLegend = () => {
  const shown = [...new Set(kinds)].map((kind) => {
    const item = make("span", "gb-" + kind);
    item.append(make("i", "gb-dot"), make("span", "", kind === "special" ? "control" : kind));
    return item;
  });
  const dashes = AXES.map(([axis], i) => {
    const item = make("span");
    item.append(make("i", "gb-dash gb-dash" + i), make("span", "", axis));
    return item;
  });
  find(".gb-axes").replaceChildren(...dashes, ...shown);
};

const showDelta = () => {
  const next = data.t.length + data.rope_delta;
  const sign = data.rope_delta < 0 ? "−" + number(-data.rope_delta) : number(data.rope_delta);
  find(".gb-delta").textContent =
    `rope_delta = ${sign}: the token that would come next has index ${number(data.t.length)} in the row, ` +
    `but stands at position ${number(next)} on all three axes.`;
};

// ---- frequencies --------------------------------------------------------------------------------
const showFrequencies = () => {
  const { axes } = data;
  find(".gb-frequencies").replaceChildren(...[...axes].map((axis) => make("i", "gb-axis-" + axis, axis)));
  const count = (axis) => [...axes].filter((letter) => letter === axis).length;
  const blocked = /^t+h+w+$/.test(axes);
  find(".gb-turns").textContent = axes &&
    `${axes.length} frequencies a head, from fast on the left to slow: ${count("t")} turn with t, ${count("h")} with h, ` +
    `${count("w")} with w, ` + (blocked ? "in three blocks." : "interleaved, so that each axis has fast and slow ones.");
};

// ---- lines --------------------------------------------------------------------------------------
const span = () => ({ last: Math.max(1, data.t.length - 1), most: Math.max(1, ...["t", "h", "w"].map((a) => max(data[a]))) });
const max = (list) => list.reduce((a, b) => (a > b ? a : b), 0);

const drawChart = () => {
  const width = find(".gb-chart-box").clientWidth, height = 210;
  const { last, most } = span();
  const x = (i) => EDGE.left + (i / last) * (width - EDGE.left - EDGE.right);
  const y = (v) => height - EDGE.bottom - (v / most) * (height - EDGE.top - EDGE.bottom);
  const painted = chartLayer(version, width, height, (context) => {
    drawBands(context, x, height);
    drawTicks(context, x, y, last, most, width, height);
    AXES.forEach(([axis, dash]) => drawLine(context, x, y, data[axis], dash));
  });
  const context = canvasContext(chart, width, height);
  context.drawImage(painted, 0, 0, width, height);
  if (at !== null) drawCursor(context, x, y, height);
};

const drawBands = (context, x, height) =>
  data.spans.forEach(([kind, start, stop]) => {
    context.globalAlpha = 0.1;
    context.fillStyle = colour(kind);
    context.fillRect(x(start - 0.5), EDGE.top, x(stop - 0.5) - x(start - 0.5), height - EDGE.top - EDGE.bottom);
    context.globalAlpha = 1;
  });

const ticks = (most, room) => {
  const rough = most / Math.max(2, room), power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough));
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => i * step);
};

const drawTicks = (context, x, y, last, most, width, height) => {
  context.font = "11px system-ui, sans-serif";
  context.fillStyle = colour("soft");
  context.strokeStyle = colour("rule");
  context.lineWidth = 1;
  context.textAlign = "right";
  ticks(most, 4).forEach((value) => {
    context.beginPath(); context.moveTo(EDGE.left, y(value)); context.lineTo(width - EDGE.right, y(value)); context.stroke();
    context.fillText(number(value), EDGE.left - 6, y(value) + 4);
  });
  context.textAlign = "center";
  ticks(last, width / 110).forEach((value) => context.fillText(number(value), x(value), height - 8));
  context.textAlign = "left";
};

const drawLine = (context, x, y, values, dash) => {
  context.setLineDash(dash);
  context.lineWidth = 1.8;
  context.lineJoin = "round";
  data.spans.forEach(([kind, start, stop]) => {
    context.strokeStyle = colour(kind);
    context.beginPath();
    // From the last token of the span before, so that the line has no gaps.
    for (let i = Math.max(0, start - 1); i < stop; i++) context.lineTo(x(i), y(values[i]));
    context.stroke();
  });
  context.setLineDash([]);
};

const drawCursor = (context, x, y, height) => {
  context.strokeStyle = colour("soft");
  context.beginPath(); context.moveTo(x(at), EDGE.top); context.lineTo(x(at), height - EDGE.bottom); context.stroke();
  AXES.forEach(([axis]) => {
    context.fillStyle = colour(kinds[at]);
    context.beginPath(); context.arc(x(at), y(data[axis][at]), 3.5, 0, 7); context.fill();
  });
};

const showRead = () => {
  find(".gb-read").textContent = at === null
    ? "Point at the lines to read a token."
    : `Token ${number(at)} “${visible(data.tokens[at])}” (${kinds[at]}): t ${data.t[at]}, h ${data.h[at]}, w ${data.w[at]}`;
};

const underChart = (event) => {
  const box = chart.getBoundingClientRect(), { last } = span();
  const share = (event.clientX - box.left - EDGE.left) / (box.width - EDGE.left - EDGE.right);
  return Math.max(0, Math.min(last, Math.round(share * last)));
};
chart.addEventListener("pointermove", (event) => shared.held || lookAt(underChart(event)));
chart.addEventListener("pointerleave", () => shared.held || lookAt(null));
chart.addEventListener("click", (event) => lookAt(underChart(event), true));

// A token by its index: if it is a cell of a medium, the other panels show that cell.
const lookAt = (index, hold = false) => {
  if (index !== null && index >= data.t.length) return;
  const found = index === null ? null : cellOf(index);
  at = index;
  if (found) {
    const same = shared.held && index === tokenOf(shared);
    tellCell({ ...found, held: hold && !same });
  } else tellCell({ cell: null, held: false });
  drawAll();
};

const tokenOf = ({ pick, frame, cell }) => data.media[pick].starts[frame] + cell;

const cellOf = (index) => {
  for (let pick = 0; pick < data.media.length; pick++) {
    const { cells, starts } = data.media[pick];
    for (let frame = 0; frame < starts.length; frame++) {
      const inside = index - starts[frame];
      if (inside >= 0 && inside < cells[1] * cells[2]) return { pick, frame, cell: inside };
    }
  }
  return null;
};

// ---- heat maps ----------------------------------------------------------------------------------
const drawMaps = () => {
  find(".gb-maps-part").hidden = data.media.length === 0;
  if (!data.media.length) return;
  const { pick, frame } = shared;
  const key = [version, pick, frame].join();
  if (key !== shown.key) showMaps(key);
  maps.forEach((canvas, i) => drawMap(canvas, mapLayers[i], shown.values[i], shown.low, shown.high));
};

let shown = { key: "" }; // the temporal patch that the maps show
const showMaps = (key) => {
  const { pick, frame } = shared;
  mediaButtons(find(".gb-chips"), data.media, pick, (index) => {
    tellCell({ pick: index, frame: 0, cell: null, held: false });
    at = null;
    drawAll();
  });
  const { kind, cells, starts, name } = data.media[pick], start = starts[frame], count = cells[1] * cells[2];
  find(".gb-which").textContent = `${name}: positions of its ${cells[1]} × ${cells[2]} cells` +
    (kind === "video" ? `, temporal patch ${frame + 1} of ${starts.length} (choose another in Patches)` : "");
  const values = AXES.map(([axis]) => data[axis].subarray(start, start + count));
  const low = Math.min(...values.map((list) => list.reduce((a, b) => (a < b ? a : b))));
  shown = { key, values, low, high: Math.max(...values.map(max)) };
};

const drawMap = (canvas, kept, values, low, high) => {
  const { cells: [, down, across] } = data.media[shared.pick], { cell } = shared;
  const room = (find(".gb-maps").clientWidth - 32) / 3;
  const size = Math.min(room / across, 200 / down);
  const width = Math.round(size * across), height = Math.round(size * down);
  const painted = kept([version, shared.pick, shared.frame].join(), width, height, (context) =>
    paintMap(context, values, low, high, down, across, size));
  const context = canvasContext(canvas, width, height);
  context.drawImage(painted, 0, 0, width, height);
  if (cell === null) return;
  context.lineWidth = 2;
  context.strokeStyle = shared.held ? colour("answer") : colour("ink");
  context.strokeRect((cell % across) * size, Math.floor(cell / across) * size, size, size);
};

const paintMap = (context, values, low, high, down, across, size) => {
  context.font = `${Math.min(13, size * 0.42)}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  const gap = size > 6 ? 1 : 0;
  for (let i = 0; i < down * across; i++) {
    const x = (i % across) * size, y = Math.floor(i / across) * size;
    const share = high > low ? (values[i] - low) / (high - low) : 0;
    context.globalAlpha = 0.12 + 0.78 * share;
    context.fillStyle = colour(data.media[shared.pick].kind);
    context.fillRect(x, y, size - gap, size - gap);
    context.globalAlpha = 1;
    context.fillStyle = share > 0.55 ? colour("on-strong") : colour("ink");
    if (size >= 20) context.fillText(values[i], x + size / 2 - 0.5, y + size / 2);
  }
};

const underMap = (event) => {
  const box = event.target.getBoundingClientRect(), [, down, across] = data.media[shared.pick].cells;
  const column = Math.min(across - 1, Math.floor(((event.clientX - box.left) / box.width) * across));
  const row = Math.min(down - 1, Math.floor(((event.clientY - box.top) / box.height) * down));
  return tokenOf({ ...shared, cell: Math.max(0, row) * across + Math.max(0, column) });
};
maps.forEach((canvas) => {
  canvas.addEventListener("pointermove", (event) => shared.held || lookAt(underMap(event)));
  canvas.addEventListener("pointerleave", () => shared.held || lookAt(null));
  canvas.addEventListener("click", (event) => lookAt(underMap(event), true));
});

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
};

const tableRow = (index, top) => {
  const row = make("div", "gb-row gb-" + kinds[index] + (index === at ? " gb-at" : ""));
  row.setAttribute("role", "row");
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

// A quote inside a field is doubled (RFC 4180).
const field = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
find(".gb-csv").addEventListener("click", () => {
  const lines = data.tokens.map((text, i) => [i, field(text), kinds[i], data.t[i], data.h[i], data.w[i]].join());
  saveAs("positions.csv", "text/csv", ["index,token,kind,t,h,w", ...lines].join("\r\n") + "\r\n");
});

find(".gb-search").addEventListener("input", search);
table.addEventListener("scroll", drawRows);

const drawAll = () => {
  if (!data || !element.clientWidth) return;
  drawMaps();
  drawChart();
  showRead();
  drawRows();
};

onCell(() => {
  if (!data || !data.media[shared.pick]) return;
  at = shared.cell === null ? null : tokenOf(shared);
  drawAll();
});
keepDrawn(load, drawAll);
