let data = null, half = 0;
const layers = { patches: true, cells: true, windows: true };

const medium = () => data.media[shared.pick];
const columns = () => medium().cells[2];
const step = () => medium().frames[shared.frame];
const canvas = find(".gb-grid");
const base = painter(make("canvas"));

const seen = () => picture(step().images[Math.min(half, step().images.length - 1)], drawAll);

const load = (fresh) => {
  data = fresh;
  pictures.clear();
  data.media.forEach(({ frames }) => frames.forEach((entry) => { entry.positions = entry.positions.map(integers); }));
  find(".gb-none").hidden = data.media.length > 0;
  find(".gb-media").hidden = data.media.length === 0;
  startOver(data);
  if (data.media.length) showMedium();
  drawAll();
};

const choose = (pick) => {
  tellCell({ pick, frame: 0, cell: null, held: false });
  showMedium();
  drawAll();
};

let shown = -1; // the medium whose texts and strip stand there
const showMedium = () => {
  shown = shared.pick;
  half = 0;
  mediaButtons(find(".gb-chips"), data.media, shown, choose);
  const { name, kind, original, seen: size, cells, tokens, notes } = medium();
  const times = kind === "video" ? cells[0] + " × " : "";
  find(".gb-line").textContent =
    `${name}: ${original[0]} × ${original[1]} px, seen at ${size[0]} × ${size[1]} px, ` +
    `${times}${cells[1]} × ${cells[2]} cells = ${number(tokens)} tokens`;
  find(".gb-notes").replaceChildren(...notes.map((note) => make("li", "", note)));
  element.dataset.rows = `${cells[1]}×${cells[2]}`;
  showLayers();
  buildStrip();
};

// ---- layers -------------------------------------------------------------------------------------
const showLayers = () => {
  const { patch, merge } = medium(), windows = data.windows;
  const words = {
    patches: `Patches of ${patch} × ${patch} px`,
    cells: `Cells of ${merge} × ${merge} patches, one token each`,
    windows: windows ? `Attention windows of ${windows.cells} × ${windows.cells} cells` : "",
  };
  find(".gb-layers").querySelectorAll("label").forEach((label) => {
    const name = label.querySelector("input").value;
    label.hidden = !words[name];
    label.querySelector("span").textContent = words[name];
  });
  find(".gb-key").textContent = windows
    ? `In ${windows.blocks - windows.full.length} of the tower's ${windows.blocks} blocks a patch attends only inside its window; ` +
      `blocks ${windows.full.join(", ")} see the whole picture.` : "";
};

find(".gb-layers").addEventListener("change", (event) => {
  layers[event.target.value] = event.target.checked;
  drawAll();
});

// ---- time ---------------------------------------------------------------------------------------
const buildStrip = () => {
  const { kind, frames } = medium();
  find(".gb-time").hidden = kind !== "video";
  if (kind !== "video") return;
  find(".gb-strip").replaceChildren(...frames.map((entry, index) => {
    const button = make("button", "gb-thumb");
    button.type = "button";
    const images = make("span", "gb-pair");
    images.append(...entry.images.map((source) => Object.assign(make("img"), { src: source, alt: "" })));
    button.append(images, make("span", "", entry.times.map((second) => second.toFixed(1)).join(", ") + " s"));
    button.addEventListener("click", () => seek(index));
    return button;
  }));
  find(".gb-scrub input").max = frames.length - 1;
};

const seek = (frame) => {
  half = 0;
  tellCell({ frame });
  drawAll();
};

const showTime = () => {
  const { kind, frames } = medium();
  if (kind !== "video") return;
  const times = step().times.map((second) => second.toFixed(2) + " s").join(" and ");
  find(".gb-scrub input").value = shared.frame;
  find(".gb-scrub span").textContent =
    `Temporal patch ${shared.frame + 1} of ${frames.length}: frames at ${times || "unknown times"}`;
  find(".gb-strip").childNodes.forEach((node, i) => node.setAttribute("aria-pressed", String(i === shared.frame)));
};

find(".gb-scrub input").addEventListener("input", (event) => seek(Number(event.target.value)));

// ---- the grid -----------------------------------------------------------------------------------
const scale = () => {
  const [width, height] = medium().seen;
  const room = find(".gb-stage").clientWidth;
  return Math.min(room / width, 440 / height);
};

const lines = (context, width, height, across, down, thick, alpha, every = 1) => {
  context.globalAlpha = alpha;
  context.lineWidth = thick;
  context.beginPath();
  for (let i = every; i < across; i += every) { context.moveTo((i * width) / across, 0); context.lineTo((i * width) / across, height); }
  for (let i = every; i < down; i += every) { context.moveTo(0, (i * height) / down); context.lineTo(width, (i * height) / down); }
  context.stroke();
  context.globalAlpha = 1;
};

const paintGrid = (context, image, width, height) => {
  const { cells: [, rows, across], merge, kind } = medium();
  if (image.naturalWidth) context.drawImage(image, 0, 0, width, height);
  const size = width / across;
  const thin = layers.patches && size / merge >= 5, thick = layers.cells && size >= 3;
  // A pale line below the coloured one keeps the grid visible on dark pictures.
  context.strokeStyle = "#fff";
  if (thick && size > 14) lines(context, width, height, across, rows, 3, 0.4);
  if (thin && size / merge >= 14) lines(context, width, height, across * merge, rows * merge, 1.2, 0.25);
  context.strokeStyle = colour("grid-" + kind);
  if (thin) lines(context, width, height, across * merge, rows * merge, 0.6, 0.45);
  if (thick) lines(context, width, height, across, rows, size > 14 ? 1.6 : 0.5, size > 14 ? 0.85 : 0.5);
  if (data.windows && layers.windows) {
    const thickness = Math.max(0.7, Math.min(2.5, (size * data.windows.cells) / 20));
    context.strokeStyle = "#fff";
    if (thickness > 1.5) lines(context, width, height, across, rows, 2 * thickness, 0.6, data.windows.cells);
    context.strokeStyle = colour("window");
    lines(context, width, height, across, rows, thickness, 1, data.windows.cells);
  }
};

const drawGrid = () => {
  const { seen: size, cells: [, rows, across] } = medium();
  const width = Math.round(size[0] * scale()), height = Math.round(size[1] * scale()), image = seen();
  const key = [image.src.length, image.src.slice(-64), image.naturalWidth, ...Object.values(layers)].join();
  const painted = base(key, width, height, (context) => paintGrid(context, image, width, height));
  const context = canvasContext(canvas, width, height);
  context.drawImage(painted, 0, 0, width, height);
  if (shared.cell === null) return;
  const x = ((shared.cell % across) * width) / across, y = (Math.floor(shared.cell / across) * height) / rows;
  const box = [x, y, width / across, height / rows];
  context.lineWidth = 4;
  context.strokeStyle = "#fff";
  context.strokeRect(...box);
  context.lineWidth = 2;
  context.strokeStyle = shared.held ? colour("answer") : "#111";
  context.strokeRect(...box);
};

const drawZoom = () => {
  const { seen: size, cells, merge, kind } = medium(), { cell } = shared;
  const image = seen();
  if (cell === null || !image.naturalWidth) return;
  const context = canvasContext(find(".gb-zoom"), 120, 120);
  const wide = image.naturalWidth / cells[2], high = image.naturalHeight / cells[1];
  context.imageSmoothingEnabled = size[0] > image.naturalWidth;
  context.drawImage(image, (cell % cells[2]) * wide, Math.floor(cell / cells[2]) * high, wide, high, 0, 0, 120, 120);
  context.strokeStyle = colour("grid-" + kind);
  lines(context, 120, 120, merge, merge, 1, 0.9);
};

// ---- the cell -----------------------------------------------------------------------------------
const fact = (name, value) => [make("dt", "", name), make("dd", "", value)];

const showCell = () => {
  const { cell, held } = shared;
  find(".gb-zoom").hidden = find(".gb-facts").hidden = cell === null;
  find(".gb-cell-title").textContent =
    cell === null ? "Point at a cell" : "Token " + number(step().start + cell);
  find(".gb-hold").textContent =
    cell === null ? "Hover, tap or use the arrow keys. A click holds the cell; the other tabs follow."
      : held ? "Held. Click it again to let go." : "Click to hold this cell.";
  if (cell === null) return;
  const { cells, xs, ys, merge, kind } = medium();
  const row = Math.floor(cell / cells[2]), column = cell % cells[2];
  const [t, h, w] = step().positions.map((axis) => axis[cell]);
  const facts = [
    ...fact("row, column", `${row + 1} of ${cells[1]}, ${column + 1} of ${cells[2]}`),
    ...fact("(t, h, w)", `(${t}, ${h}, ${w})`),
    ...fact("in the original", `x ${Math.round(xs[column])}–${Math.round(xs[column + 1])}, ` +
      `y ${Math.round(ys[row])}–${Math.round(ys[row + 1])} px`),
    ...fact("made of", `${merge * merge} patches` + (kind === "video" ? ` × ${step().images.length} frames` : "")),
  ];
  if (data.windows) {
    const edge = data.windows.cells;
    facts.push(...fact("attention window", `row ${Math.floor(row / edge) + 1}, column ${Math.floor(column / edge) + 1}`));
  }
  find(".gb-facts").replaceChildren(...facts);
  element.dataset.token = step().start + cell;
};

const drawAll = () => {
  if (!data || !data.media.length || !element.clientWidth) return;
  if (shown !== shared.pick) showMedium();
  showTime();
  drawGrid();
  drawZoom();
  showCell();
};

const under = (event) => {
  const box = canvas.getBoundingClientRect(), [, rows, across] = medium().cells;
  const column = Math.floor(((event.clientX - box.left) / box.width) * across);
  const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
  return Math.max(0, Math.min(rows - 1, row)) * across + Math.max(0, Math.min(across - 1, column));
};

const point = (cell) => {
  if (shared.held || shared.cell === cell) return;
  tellCell({ cell });
  drawAll();
};

canvas.addEventListener("pointermove", (event) => point(under(event)));
canvas.addEventListener("pointerleave", () => point(null));
canvas.addEventListener("click", (event) => { holdCell(under(event)); drawAll(); });
canvas.addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() }, { cell } = shared;
  if (event.key === "Enter" || event.key === " ") {
    if (cell !== null) holdCell(cell);
  } else if (event.key in moves) {
    const next = cell === null ? 0 : cell + moves[event.key];
    if (next >= 0 && next < medium().cells[1] * columns()) tellCell({ cell: next });
  } else return;
  event.preventDefault();
  drawAll();
});

onCell(drawAll);
keepDrawn(load, drawAll);
