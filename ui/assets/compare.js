let data = null, word = [0, 0], frame = 0;

const offset = (side, moment) => {
  const last = side.media.length - 1, [, rows, columns] = side.media[last].cells;
  return side.media.slice(0, last).reduce((sum, { tokens }) => sum + tokens, 0) + moment * rows * columns;
};

const drawSide = (side, number, box) => {
  box.querySelectorAll(".gb-word").forEach((node, index) => node.classList.toggle("gb-at", index === word[number]));
  const canvas = box.querySelector("canvas");
  if (!canvas) return;
  const [width, height] = sizeOf(side, box.clientWidth - 28, 300); // without the card's padding
  paintSide(canvasContext(canvas, width, height), side, number, width, height);
  const scrub = box.querySelector("input");
  if (!scrub) return;
  const { frames } = side.media.at(-1), moment = momentOf(side); // one slider moves both sides
  scrub.value = moment;
  box.querySelector(".gb-moment").textContent = `Moment ${moment + 1} of ${frames.length}: ${frames[moment].times.map((second) => second.toFixed(2) + " s").join(" and ")}`;
};
const momentOf = (side) => Math.min(frame, side.media.at(-1).frames.length - 1);
const sizeOf = (side, most, highest) => {
  const [wide, high] = side.media.at(-1).seen, scale = Math.min(most / wide, highest / high);
  return [Math.round(wide * scale), Math.round(high * scale)];
};
const paintSide = (context, side, number, width, height) => {
  const shown = side.media.at(-1), moment = momentOf(side), image = picture(shown.frames[moment].images[0], drawAll);
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
    box.append(scrub, make("p", "gb-soft gb-moment"));
  }
  return box;
};

const said = (name, value) => (name.endsWith(", bytes") ? memory(value ?? 0) : text(value));
const text = (value) => (typeof value === "number" ? (value >= 100 || Number.isInteger(value) ? number(Math.round(value)) : value.toFixed(1)) : value ?? "–");
const title = (name) => name.replace(", bytes", "");
const load = (fresh) => {
  data = fresh;
  [word, frame] = [[0, 0], 0];
  pictures.clear();
  const sides = data.sides ?? [], mapped = sides.some(({ maps }) => maps.length);
  find(".gb-note-line").textContent = data.note ?? (mapped ? "Point at a word of either answer to see where it looked." : "");
  find(".gb-sides").replaceChildren(...sides.map(build));
  const rows = sides.length < 2 ? [] : Object.keys(sides[0].figures).map((name) => {
    const row = make("tr"), values = sides.map(({ figures }) => figures[name]);
    row.append(make("td", "", title(name)), ...values.map((value) => make("td", "", said(name, value))));
    if (values[0] !== values[1]) row.classList.add("gb-differs");
    return row;
  });
  find(".gb-saves").hidden = !sides.length;
  find("[data-save=npz]").hidden = typeof server === "undefined" || !mapped;
  const head = make("tr");
  head.append(make("th"), ...sides.map(({ label }) => make("th", "", label)));
  find(".gb-figures").replaceChildren(...(rows.length ? [head, ...rows] : []));
  drawAll();
};
const drawAll = () => {
  if (!data?.sides || !element.clientWidth) return;
  find(".gb-sides").childNodes.forEach((box, number) => drawSide(data.sides[number], number, box));
};

// ---- saving -------------------------------------------------------------------------------------
const MARGIN = 24, COLUMN = 520, LINE = 22;
// The text in lines that fit; long ones end in dots.
const wrapped = (context, text, width, most) => {
  const lines = [""];
  text.split(/(?<=\s)/).forEach((word) => {
    if (lines.at(-1) && context.measureText(lines.at(-1) + word).width > width) lines.push("");
    lines[lines.length - 1] += word;
  });
  return lines.length > most ? [...lines.slice(0, most - 1), lines[most - 1].trimEnd() + " …"] : lines;
};
const paintSheet = (sheet) => {
  const context = sheet.getContext("2d"), { sides } = data;
  const say = (text, x, y, ink = "ink", weight = 400) => {
    context.font = `${weight} 15px system-ui, sans-serif`;
    context.fillStyle = colour(ink);
    context.fillText(text, x, y);
  };
  context.font = "400 15px system-ui, sans-serif";
  const answers = sides.map(({ answer }) => wrapped(context, answer, COLUMN, 8));
  const sizes = sides.map((side) => (side.media.length ? sizeOf(side, COLUMN, COLUMN) : [0, 0]));
  const top = MARGIN + LINE * (2.5 + Math.max(...answers.map((lines) => lines.length)));
  const table = top + Math.max(...sizes.map(([, height]) => height)) + 2 * LINE, names = Object.keys(sides[0].figures);
  [sheet.width, sheet.height] = [3 * MARGIN + 2 * COLUMN, table + LINE * names.length + MARGIN];
  context.fillStyle = colour("card");
  context.fillRect(0, 0, sheet.width, sheet.height);
  sides.forEach((side, number) => {
    const left = MARGIN + number * (COLUMN + MARGIN), [width, height] = sizes[number];
    say(side.label, left, MARGIN + 12, "ink", 650);
    answers[number].forEach((line, index) => say(line, left, MARGIN + LINE * (1.5 + index) + 8));
    if (side.words.length) say(`Where “${side.words[word[number]].trim()}” looked`, left, top - 8, "soft");
    if (!width) return;
    context.save();
    context.translate(left, top);
    paintSide(context, side, number, width, height);
    context.restore();
  });
  names.forEach((name, index) => {
    const y = table + LINE * index;
    say(title(name), MARGIN, y, "soft");
    sides.forEach(({ figures }, number) => say(String(said(name, figures[name])), MARGIN + 180 + number * (COLUMN + MARGIN), y));
  });
};
element.querySelectorAll("[data-save]").forEach((button) => button.addEventListener("click", async () => {
  if (button.dataset.save === "csv") { saveAs("glassbox-compare.csv", "text/csv", data.csv); return; }
  if (button.dataset.save === "png") {
    const sheet = make("canvas");
    paintSheet(sheet);
    sheet.toBlob((blob) => saveAs("glassbox-compare.png", "image/png", blob));
    return;
  }
  const got = await server.ask({ run: data.run, what: "sides" }).catch(() => null) ?? { error: "The app does not answer: is it still running?" };
  if (got.error) find(".gb-note-line").textContent = got.error;
  else saveAs("glassbox-compare.npz", "application/octet-stream", bytes(got.base64));
}));

keepDrawn(load, drawAll);
