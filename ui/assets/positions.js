const AXES = [["t", []], ["h", [6, 4]], ["w", [1.5, 3]]]; // name and dash of its line
const ROW = 26; // pixels; also in style.css
const EDGE = { left: 38, right: 10, top: 10, bottom: 24 };
let data = null, kinds = [], rows = [], pick = 0, frame = 0, cell = null, at = null;

const chart = find(".gb-chart"), table = find(".gb-rows");

const load = (fresh) => {
  data = fresh;
  kinds = [];
  data.spans.forEach(([kind, start, stop]) => kinds.fill(kind, start, (kinds.length = stop)));
  pick = data.pick;
  frame = 0;
  cell = at = null;
  showLegend();
  showDelta();
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

// ---- lines --------------------------------------------------------------------------------------
const span = () => ({ last: Math.max(1, data.t.length - 1), most: Math.max(1, ...["t", "h", "w"].map((a) => max(data[a]))) });
const max = (list) => list.reduce((a, b) => (a > b ? a : b), 0);

const drawChart = () => {
  const width = find(".gb-chart-box").clientWidth, height = 250;
  const context = canvasContext(chart, width, height);
  const { last, most } = span();
  const x = (i) => EDGE.left + (i / last) * (width - EDGE.left - EDGE.right);
  const y = (v) => height - EDGE.bottom - (v / most) * (height - EDGE.top - EDGE.bottom);
  drawBands(context, x, height);
  drawTicks(context, x, y, last, most, width, height);
  AXES.forEach(([axis, dash]) => drawLine(context, x, y, data[axis], dash));
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

chart.addEventListener("pointermove", (event) => {
  const box = chart.getBoundingClientRect(), { last } = span();
  const share = (event.clientX - box.left - EDGE.left) / (box.width - EDGE.left - EDGE.right);
  lookAt(Math.max(0, Math.min(last, Math.round(share * last))));
});
chart.addEventListener("pointerleave", () => lookAt(null));

// A token by its index: if it is a cell of a medium, the other panels show that cell.
const lookAt = (index) => {
  if (index === at || (index !== null && index >= data.t.length)) return;
  at = index;
  const found = index === null ? null : cellOf(index);
  if (found) {
    ({ pick, frame, cell } = found);
    tellCell(found);
  } else cell = null;
  drawAll();
};

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
  mediaButtons(find(".gb-chips"), data.media, pick, (index) => { pick = index; frame = 0; cell = null; drawAll(); });
  const { kind, cells, starts, name } = data.media[pick];
  find(".gb-which").textContent = `${name}: positions of its ${cells[1]} × ${cells[2]} cells` +
    (kind === "video" ? `, temporal patch ${frame + 1} of ${starts.length} (choose another in Patches or on the lines)` : "");
  const inside = AXES.flatMap(([axis]) => data[axis].slice(starts[frame], starts[frame] + cells[1] * cells[2]));
  const range = [inside.reduce((a, b) => (a < b ? a : b)), max(inside)];
  find(".gb-maps").querySelectorAll("canvas").forEach((canvas, i) => drawMap(canvas, data[AXES[i][0]], range));
};

const drawMap = (canvas, values, [low, high]) => {
  const { kind, cells: [, down, across], starts } = data.media[pick];
  const room = (find(".gb-maps").clientWidth - 32) / 3;
  const size = Math.min(room / across, 240 / down);
  const context = canvasContext(canvas, Math.round(size * across), Math.round(size * down));
  context.font = `${Math.min(13, size * 0.42)}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (let i = 0; i < down * across; i++) {
    const x = (i % across) * size, y = Math.floor(i / across) * size, value = values[starts[frame] + i];
    const share = high > low ? (value - low) / (high - low) : 0;
    context.globalAlpha = 0.12 + 0.78 * share;
    context.fillStyle = colour(kind);
    context.fillRect(x, y, size - 1, size - 1);
    context.globalAlpha = 1;
    context.fillStyle = share > 0.55 ? colour("on-strong") : colour("ink");
    if (size >= 20) context.fillText(value, x + size / 2 - 0.5, y + size / 2);
    if (i === cell) { context.strokeStyle = colour("ink"); context.lineWidth = 2; context.strokeRect(x, y, size - 1, size - 1); }
  }
};

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
  row.addEventListener("click", () => lookAt(index));
  return row;
};

find(".gb-search").addEventListener("input", search);
table.addEventListener("scroll", drawRows);

const drawAll = () => {
  if (!data || !element.clientWidth) return;
  drawChart();
  showRead();
  drawMaps();
  drawRows();
};

onCell((detail) => {
  if (!data || !data.media[detail.pick]) return;
  ({ pick, frame, cell } = detail);
  at = cell === null ? null : data.media[pick].starts[frame] + cell;
  drawAll();
});
keepDrawn(load, drawAll);
