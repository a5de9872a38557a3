const AXES = [["t", []], ["h", [6, 4]], ["w", [1.5, 3]]]; // name and dash of its line
const ROW = 26; // pixels; also in panels.css
const EDGE = { left: 38, right: 10, top: 10, bottom: 24 }, HEIGHT = 210; // pixels, of the chart
let data = null, kinds = [], rows = [], at = null, last = 1, most = 1;

const chart = find(".gb-chart"), cursor = find(".gb-cursor"), table = find(".gb-rows");
const maps = [...element.querySelectorAll(".gb-map")], marks = element.querySelectorAll(".gb-mark");
const paintChart = painter(chart), paintMaps = maps.map(painter);
let version = 0; // of the data, so that pictures of an earlier turn are not taken for this one's

const load = (fresh) => {
  data = { ...fresh, t: integers(fresh.t), h: integers(fresh.h), w: integers(fresh.w) };
  version += 1;
  last = Math.max(1, data.t.length - 1);
  most = Math.max(1, ...AXES.map(([axis]) => max(data[axis])));
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
const max = (list) => list.reduce((a, b) => (a > b ? a : b), 0);
let x = null, y = null; // token → pixels across, position → pixels down

const drawChart = () => {
  const width = find(".gb-chart-box").clientWidth;
  x = (i) => EDGE.left + (i / last) * (width - EDGE.left - EDGE.right);
  y = (v) => HEIGHT - EDGE.bottom - (v / most) * (HEIGHT - EDGE.top - EDGE.bottom);
  paintChart(version, width, HEIGHT, (context) => {
    drawBands(context);
    drawTicks(context, width);
    AXES.forEach(([axis, dash]) => drawLine(context, data[axis], dash));
  });
};

const drawBands = (context) =>
  data.spans.forEach(([kind, start, stop]) => {
    context.globalAlpha = 0.1;
    context.fillStyle = colour(kind);
    context.fillRect(x(start - 0.5), EDGE.top, x(stop - 0.5) - x(start - 0.5), HEIGHT - EDGE.top - EDGE.bottom);
    context.globalAlpha = 1;
  });

const drawTicks = (context, width) => {
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
  ticks(last, width / 110).forEach((value) => context.fillText(number(value), x(value), HEIGHT - 8));
  context.textAlign = "left";
};

const drawLine = (context, values, dash) => {
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

const showCursor = () => {
  cursor.hidden = at === null;
  if (at === null) return;
  cursor.className = "gb-cursor gb-" + kinds[at];
  place(cursor, x(at), 0);
  cursor.querySelectorAll("b").forEach((spot, i) => place(spot, 0, y(data[AXES[i][0]][at])));
};

const showRead = () => {
  find(".gb-read").textContent = at === null
    ? "Point at the lines to read a token."
    : `Token ${number(at)} “${visible(data.tokens[at])}” (${kinds[at]}): t ${data.t[at]}, h ${data.h[at]}, w ${data.w[at]}`;
};

const underChart = (event) => {
  const box = chart.getBoundingClientRect();
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
  follow();
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
let size = 0; // pixels on the edge of a cell

const drawMaps = () => {
  const key = mapsKey();
  find(".gb-maps-part").hidden = data.media.length === 0;
  if (!data.media.length) return void (shown = { key });
  if (key !== shown.key) showMaps(key);
  const [, down, across] = data.media[shared.pick].cells, room = (find(".gb-maps").clientWidth - 32) / 3;
  size = Math.min(room / across, 200 / down);
  maps.forEach((_, i) => paintMaps[i](key, Math.round(size * across), Math.round(size * down), (context) =>
    paintMap(context, shown.values[i], shown.low, shown.high, down, across)));
};

const mapsKey = () => [version, shared.pick, shared.frame].join();

const showMarks = () => {
  const { cell, held } = shared, across = data.media.length && data.media[shared.pick].cells[2];
  marks.forEach((mark) => {
    mark.hidden = cell === null;
    if (cell === null) return;
    mark.classList.toggle("gb-held", held);
    mark.style.width = mark.style.height = size + "px";
    place(mark, (cell % across) * size, Math.floor(cell / across) * size);
  });
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

const paintMap = (context, values, low, high, down, across) => {
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
