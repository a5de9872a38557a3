let data = null, pick = 0, frame = 0, half = 0, cell = null, held = false;
const pictures = new Map(); // data URI → decoded picture

const medium = () => data.media[pick];
const columns = () => medium().cells[2];
const step = () => medium().frames[frame];
const canvas = find(".gb-grid");

const picture = (source) => {
  if (!pictures.has(source)) {
    const image = new Image();
    image.onload = () => drawAll();
    image.src = source;
    pictures.set(source, image);
  }
  return pictures.get(source);
};

const load = (fresh) => {
  data = fresh;
  pictures.clear();
  find(".gb-none").hidden = data.media.length > 0;
  find(".gb-media").hidden = data.media.length === 0;
  if (data.media.length) choose(data.pick);
};

const choose = (index) => {
  pick = index;
  frame = half = 0;
  cell = null;
  held = false;
  mediaButtons(find(".gb-chips"), data.media, pick, choose);
  const { name, kind, original, seen, cells, tokens, notes, patch, merge } = medium();
  const times = kind === "video" ? cells[0] + " × " : "";
  find(".gb-line").textContent =
    `${name}: ${original[0]} × ${original[1]} px, seen at ${seen[0]} × ${seen[1]} px, ` +
    `${times}${cells[1]} × ${cells[2]} cells = ${number(tokens)} tokens`;
  find(".gb-key").textContent =
    `Thin lines: patches of ${patch} × ${patch} px. Thick lines: cells of ${merge} × ${merge} patches, ` +
    "merged into one token each.";
  find(".gb-notes").replaceChildren(...notes.map((note) => make("li", "", note)));
  buildStrip();
  tellCell({ pick, frame, cell });
  drawAll();
};

// ---- time ---------------------------------------------------------------------------------------
const buildStrip = () => {
  const { kind, frames } = medium();
  find(".gb-time").hidden = kind !== "video";
  if (kind !== "video") return;
  find(".gb-strip").replaceChildren(...frames.map((entry, index) => {
    const button = make("button", "gb-thumb");
    button.type = "button";
    const image = make("img");
    image.src = entry.images[0];
    image.alt = "";
    button.append(image, make("span", "", entry.time === null ? "#" + (index + 1) : entry.time.toFixed(1) + " s"));
    button.addEventListener("click", () => seek(index));
    return button;
  }));
  find(".gb-scrub input").max = frames.reduce((sum, entry) => sum + entry.images.length, 0) - 1;
};

const seek = (index, second = 0) => {
  frame = index;
  half = second;
  tellCell({ pick, frame, cell });
  drawAll();
};

const showTime = () => {
  const { kind, frames } = medium();
  if (kind !== "video") return;
  const before = frames.slice(0, frame).reduce((sum, entry) => sum + entry.images.length, 0);
  const times = step().times.map((second) => second.toFixed(2) + " s").join(" and ");
  find(".gb-scrub input").value = before + half;
  find(".gb-scrub span").textContent =
    `Temporal patch ${frame + 1} of ${frames.length}: frames at ${times || "unknown times"}`;
  find(".gb-strip").childNodes.forEach((node, i) => node.setAttribute("aria-pressed", String(i === frame)));
};

find(".gb-scrub input").addEventListener("input", (event) => {
  let left = Number(event.target.value), index = 0;
  while (left >= medium().frames[index].images.length) left -= medium().frames[index++].images.length;
  seek(index, left);
});

// ---- the grid -----------------------------------------------------------------------------------
const scale = () => {
  const [width, height] = medium().seen;
  const room = find(".gb-stage").clientWidth;
  return Math.min(room / width, 460 / height);
};

const lines = (context, width, height, across, down, thick, alpha) => {
  context.globalAlpha = alpha;
  context.lineWidth = thick;
  context.beginPath();
  for (let i = 1; i < across; i++) { context.moveTo((i * width) / across, 0); context.lineTo((i * width) / across, height); }
  for (let i = 1; i < down; i++) { context.moveTo(0, (i * height) / down); context.lineTo(width, (i * height) / down); }
  context.stroke();
  context.globalAlpha = 1;
};

const drawGrid = () => {
  const { seen, cells, merge, kind } = medium();
  const width = Math.round(seen[0] * scale()), height = Math.round(seen[1] * scale());
  const context = canvasContext(canvas, width, height);
  const image = picture(step().images[Math.min(half, step().images.length - 1)]);
  if (image.complete && image.naturalWidth) context.drawImage(image, 0, 0, width, height);
  const size = width / cells[2];
  // A pale line below the coloured one keeps the grid visible on dark pictures.
  context.strokeStyle = "#fff";
  if (size > 14) lines(context, width, height, cells[2], cells[1], 3, 0.4);
  if (size / merge >= 14) lines(context, width, height, cells[2] * merge, cells[1] * merge, 1.2, 0.25);
  context.strokeStyle = colour("grid-" + kind);
  if (size / merge >= 5) lines(context, width, height, cells[2] * merge, cells[1] * merge, 0.6, 0.45);
  if (size >= 4) lines(context, width, height, cells[2], cells[1], size > 14 ? 1.6 : 0.8, 0.85);
  if (cell !== null) markCell(context, width, height);
};

const markCell = (context, width, height) => {
  const [, rows, across] = medium().cells;
  const x = ((cell % across) * width) / across, y = (Math.floor(cell / across) * height) / rows;
  context.lineWidth = 4;
  context.strokeStyle = "#fff";
  context.strokeRect(x, y, width / across, height / rows);
  context.lineWidth = 2;
  context.strokeStyle = held ? colour("answer") : "#111";
  context.strokeRect(x, y, width / across, height / rows);
};

const drawZoom = () => {
  const { seen, cells, merge } = medium();
  const image = picture(step().images[Math.min(half, step().images.length - 1)]);
  const context = canvasContext(find(".gb-zoom"), 132, 132);
  if (cell === null || !image.naturalWidth) return;
  const wide = image.naturalWidth / cells[2], high = image.naturalHeight / cells[1];
  context.imageSmoothingEnabled = seen[0] > image.naturalWidth;
  context.drawImage(image, (cell % cells[2]) * wide, Math.floor(cell / cells[2]) * high, wide, high, 0, 0, 132, 132);
  context.strokeStyle = colour("grid-" + medium().kind);
  lines(context, 132, 132, merge, merge, 1, 0.9);
};

// ---- the cell -----------------------------------------------------------------------------------
const fact = (name, value) => [make("dt", "", name), make("dd", "", value)];

const showCell = () => {
  find(".gb-zoom").hidden = find(".gb-facts").hidden = cell === null;
  find(".gb-cell-title").textContent =
    cell === null ? "Point at a cell" : "Token " + number(step().start + cell);
  find(".gb-hold").textContent =
    cell === null ? "Hover, tap or use the arrow keys. A click holds the cell."
      : held ? "Held. Click it again to let go." : "Click to hold this cell.";
  if (cell === null) return;
  const { cells, xs, ys, merge } = medium();
  const row = Math.floor(cell / cells[2]), column = cell % cells[2];
  const [t, h, w] = step().positions.map((axis) => axis[cell]);
  find(".gb-facts").replaceChildren(
    ...fact("row, column", `${row + 1} of ${cells[1]}, ${column + 1} of ${cells[2]}`),
    ...fact("(t, h, w)", `(${t}, ${h}, ${w})`),
    ...fact("in the original", `x ${Math.round(xs[column])}–${Math.round(xs[column + 1])}, ` +
      `y ${Math.round(ys[row])}–${Math.round(ys[row + 1])} px`),
    ...fact("made of", `${merge * merge} patches` + (medium().kind === "video" ? ` × ${step().images.length} frames` : "")),
  );
  element.dataset.token = step().start + cell;
};

const drawAll = () => {
  if (!data || !data.media.length || !element.clientWidth) return;
  showTime();
  drawGrid();
  drawZoom();
  showCell();
};

const point = (index) => {
  if (index === cell) return;
  cell = index;
  tellCell({ pick, frame, cell });
  drawAll();
};

const under = (event) => {
  const box = canvas.getBoundingClientRect(), [, rows, across] = medium().cells;
  const column = Math.floor(((event.clientX - box.left) / box.width) * across);
  const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
  return Math.max(0, Math.min(rows - 1, row)) * across + Math.max(0, Math.min(across - 1, column));
};

canvas.addEventListener("pointermove", (event) => held || point(under(event)));
canvas.addEventListener("pointerleave", () => held || point(null));
canvas.addEventListener("click", (event) => {
  const index = under(event);
  held = !(held && index === cell);
  if (cell === index) drawAll();
  else point(index);
});
canvas.addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() };
  if (event.key === "Enter" || event.key === " ") held = cell !== null && !held;
  else if (event.key in moves) {
    const next = cell === null ? 0 : cell + moves[event.key];
    if (next >= 0 && next < medium().cells[1] * columns()) point(next);
  } else return;
  event.preventDefault();
  drawAll();
});

onCell((detail) => {
  if (!data || !data.media[detail.pick]) return;
  if (detail.pick !== pick) choose(detail.pick);
  frame = detail.frame;
  half = 0;
  if (!held) cell = detail.cell;
  drawAll();
});
keepDrawn(load, drawAll);
