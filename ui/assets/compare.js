let data = null, word = [0, 0], frame = 0;

const offset = (side, moment) => {
  const last = side.media.length - 1, [, rows, columns] = side.media[last].cells;
  return side.media.slice(0, last).reduce((sum, { tokens }) => sum + tokens, 0) + moment * rows * columns;
};

const drawSide = (side, number, box) => {
  box.querySelectorAll(".gb-word").forEach((node, index) => node.classList.toggle("gb-at", index === word[number]));
  const canvas = box.querySelector("canvas"), shown = side.media.at(-1);
  if (!canvas) return;
  const moment = Math.min(frame, shown.frames.length - 1), image = picture(shown.frames[moment].images[0], drawAll);
  const [wide, high] = shown.seen, scale = Math.min(box.clientWidth / wide, 300 / high);
  const width = Math.round(wide * scale), height = Math.round(high * scale), context = canvasContext(canvas, width, height);
  if (image.naturalWidth) context.drawImage(image, 0, 0, width, height);
  const map = side.maps[word[number]], [, rows, columns] = shown.cells, start = offset(side, moment);
  if (map) paintHeat(context, width, height, { rows, columns, shades: (map.bytes ??= bytes(map.shades)).subarray(start, start + rows * columns) });
};

const build = (side, number) => {
  const box = make("section", "gb-card gb-compared");
  const words = make("p", "gb-words");
  words.append(...side.words.map((text, index) => {
    const node = make("span", "gb-word", text);
    node.addEventListener("pointerover", () => { word[number] = index; drawAll(); });
    node.addEventListener("click", () => { word[number] = index; drawAll(); });
    return node;
  }));
  box.append(make("p", "gb-side-title", side.label), ...(side.words.length ? [words] : [make("p", "", side.answer)]));
  if (side.media.length) box.append(make("canvas", "gb-grid"));
  if (side.why) box.append(make("p", "gb-soft", side.why));
  const moments = side.media.at(-1)?.frames.length ?? 0;
  if (moments > 1) {
    const scrub = Object.assign(make("input"), { type: "range", min: 0, max: moments - 1, value: 0 });
    scrub.setAttribute("aria-label", "Moment of the clip");
    scrub.addEventListener("input", () => { frame = Number(scrub.value); drawAll(); });
    box.append(scrub);
  }
  return box;
};

const text = (value) => (typeof value === "number" ? (value >= 100 || Number.isInteger(value) ? number(Math.round(value)) : value.toFixed(1)) : value ?? "–");
const load = (fresh) => {
  data = fresh;
  [word, frame] = [[0, 0], 0];
  pictures.clear();
  find(".gb-note-line").textContent = data.note ?? "";
  const sides = data.sides ?? [];
  find(".gb-sides").replaceChildren(...sides.map(build));
  const rows = sides.length < 2 ? [] : Object.keys(sides[0].figures).map((name) => {
    const row = make("tr"), values = sides.map(({ figures }) => figures[name]);
    row.append(make("td", "", name), ...values.map((value) => make("td", "", text(value))));
    if (values[0] !== values[1]) row.classList.add("gb-differs");
    return row;
  });
  const head = make("tr");
  head.append(make("th"), ...sides.map(({ label }) => make("th", "", label)));
  find(".gb-figures").replaceChildren(...(rows.length ? [head, ...rows] : []));
  drawAll();
};
const drawAll = () => {
  if (!data?.sides || !element.clientWidth) return;
  find(".gb-sides").childNodes.forEach((box, number) => drawSide(data.sides[number], number, box));
};

keepDrawn(load, drawAll);
