// Put in front of every panel's script; `element`, `props` and `watch` come from Gradio.
const find = (selector) => element.querySelector(selector);

const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text; // never innerHTML: names and tokens are other people's text
  return node;
};

const number = (value) => value.toLocaleString("en-US");
const memory = (bytes) => {
  const [unit, step] = [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]].find(([, least]) => bytes >= least) ?? ["B", 1];
  return `${(bytes / step).toFixed(step > 1 ? 1 : 0)} ${unit}`;
};
const read = () => (props.value ? JSON.parse(props.value) : null);

// Colours come from style.css; asking the browser for each of a thousand cells would be slow.
const colours = new Map();
const colour = (name) => {
  if (!colours.has(name)) colours.set(name, getComputedStyle(element).getPropertyValue("--gb-" + name).trim());
  return colours.get(name);
};

// Size a canvas in CSS pixels and return a context that draws in them, sharp on any screen.
const canvasContext = (canvas, width, height) => {
  const ratio = window.devicePixelRatio || 1, context = canvas.getContext("2d");
  const wide = Math.round(width * ratio), high = Math.round(height * ratio);
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide; // also wipes it; setting it anew for every move of the mouse would be slow
    canvas.height = high;
    canvas.style.width = width + "px";
    canvas.style.height = height + "px";
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
};

// One button a medium; `picked` is called with its index.
const mediaButtons = (box, media, chosen, picked) => {
  box.replaceChildren();
  media.forEach((medium, index) => {
    const button = make("button", "gb-chip gb-" + medium.kind, medium.name);
    button.type = "button";
    button.setAttribute("aria-pressed", String(index === chosen));
    button.addEventListener("click", () => picked(index));
    box.append(button);
  });
  box.hidden = media.length < 2;
};

// Many small numbers travel as base64 of bytes, others as base64 of int32.
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const integers = (text) => new Int32Array(bytes(text).buffer);

// Pictures by their data URI; `arrived` is called when one can be drawn.
const pictures = new Map();
const picture = (source, arrived) => {
  if (!pictures.has(source)) {
    const image = new Image();
    image.onload = () => arrived();
    image.src = source;
    pictures.set(source, image);
  }
  return pictures.get(source);
};

// All panels look at one cell: medium `pick`, temporal patch `frame`, `cell` of it or null; `held` by a click.
const shared = (window.glassbox ??= { pick: 0, frame: 0, cell: null, held: false });
const tellCell = (change) => {
  Object.assign(shared, change);
  document.dispatchEvent(new CustomEvent("glassbox-cell", { detail: element.id }));
};
const onCell = (react) =>
  document.addEventListener("glassbox-cell", (event) => event.detail !== element.id && react());
// A new turn begins with no cell; a panel whose tab opens later finds the one that is looked at.
const startOver = ({ run, pick }) =>
  shared.run === run || Object.assign(shared, { run, pick: Math.max(0, pick), frame: 0, cell: null, held: false });
const holdCell = (cell) => tellCell({ cell, held: !(shared.held && shared.cell === cell) });

// A picture that is slow to draw is drawn once for each `key`; `paint` gets a context of the canvas's size.
const painter = (canvas) => {
  let known = "";
  return (key, width, height, paint) => {
    const whole = [key, width, height, window.devicePixelRatio, document.body.className].join();
    if (whole !== known) paint(canvasContext(canvas, width, height));
    known = whole;
    return canvas;
  };
};

// From 0 to 1, dark to bright in even steps: as vlm.lens.export has it.
const RAMP = [[12, 8, 38], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];
const ramp = (share, alpha = 1) => {
  const at = Math.max(0, Math.min(1, share)) * (RAMP.length - 1), low = Math.min(RAMP.length - 2, Math.floor(at));
  return `rgba(${RAMP[low].map((value, i) => Math.round(value + (RAMP[low + 1][i] - value) * (at - low)))}, ${alpha})`;
};
// Colour a picture's cells; those outside of `inside` are veiled and its edge is drawn.
const paintHeat = (context, width, height, { rows, columns, shades, inside, windowed }) => {
  const most = Math.max(1, ...shades), wide = width / columns, high = height / rows;
  shades.forEach((shade, index) => {
    const share = shade / most;
    context.fillStyle = inside && !inside[index] ? "rgba(0, 0, 0, 0.55)" : ramp(share, 0.12 + 0.66 * Math.sqrt(share));
    context.fillRect((index % columns) * wide, Math.floor(index / columns) * high, wide, high);
  });
  if (!windowed) return;
  const cells = [...inside.keys()].filter((index) => inside[index]);
  const left = Math.min(...cells.map((i) => i % columns)), top = Math.floor(cells[0] / columns);
  const right = Math.max(...cells.map((i) => i % columns)) + 1, bottom = Math.floor(cells.at(-1) / columns) + 1;
  context.strokeStyle = colour("window");
  context.lineWidth = 3;
  context.strokeRect(left * wide, top * high, (right - left) * wide, (bottom - top) * high);
};

// Save text as a file of the person's.
const saveAs = (name, type, text) => {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
};

// A quote inside a field is doubled (RFC 4180).
// What a spreadsheet would take for a formula is marked as text.
const field = (value) => {
  const text = typeof value === "string" && /^\s*[=+\-@]/.test(value) ? "'" + value : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};
const saveTable = (name, headings, rows) =>
  saveAs(name, "text/csv", [headings, ...rows].map((row) => row.map(field).join() + "\r\n").join(""));

// Round numbers from 0 to `most`, about `room` of them.
const ticks = (most, room) => {
  const rough = most / Math.max(2, room), power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough));
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => i * step);
};

// Move a mark that lies over a picture; the picture itself is not drawn again.
const place = (node, left, top) => { node.style.transform = `translate(${left}px, ${top}px)`; };

const seconds = (value) => (value < 10 ? value.toFixed(1) : Math.round(value)) + " s";

// Draw now, on new data, when the panel is resized or shown, and when light turns to dark.
const keepDrawn = (load, draw) => {
  const refresh = () => {
    const data = read();
    find(".gb-empty").hidden = Boolean(data);
    find(".gb-body").hidden = !data;
    if (data) load(data);
  };
  const redraw = () => props.value && element.clientWidth > 0 && draw();
  watch("value", refresh);
  new ResizeObserver(redraw).observe(element);
  const recolour = () => { colours.clear(); redraw(); };
  new MutationObserver(recolour).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  refresh(); // a panel in a tab that was not open yet missed the change of its value
};
