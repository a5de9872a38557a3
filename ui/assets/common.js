// Put in front of every panel's script; `element`, `props` and `watch` come from Gradio.
const find = (selector) => element.querySelector(selector);

const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text; // never innerHTML: names and tokens are other people's text
  return node;
};

const number = (value) => value.toLocaleString("en-US");
const read = () => (props.value ? JSON.parse(props.value) : null);

// Colours come from style.css; asking the browser for each of a thousand cells would be slow.
const colours = new Map();
const colour = (name) => {
  if (!colours.has(name)) colours.set(name, getComputedStyle(element).getPropertyValue("--gb-" + name).trim());
  return colours.get(name);
};

// Size a canvas in CSS pixels and return a context that draws in them, sharp on any screen.
const canvasContext = (canvas, width, height) => {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = width + "px";
  canvas.style.height = height + "px";
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
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

// Panels show the same cell: each tells the others which medium, temporal patch and cell is looked at.
const tellCell = (detail) =>
  document.dispatchEvent(new CustomEvent("glassbox-cell", { detail: { ...detail, from: element.id } }));
const onCell = (react) =>
  document.addEventListener("glassbox-cell", (event) => event.detail.from !== element.id && react(event.detail));

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
