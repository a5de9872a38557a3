let data = null, info = null, mode = "words", word = 0, wordHeld = false, tint = false, run = 0;
let patch = null; // of the tower: { row, column }
const options = { heads: null, how: "mean", mask: false, normalise: false };
const parts = new Map(), sure = new Map(), nearest = new Map(), patches = new Map(), originals = new Map(); // what was asked already
const canvas = find(".gb-heat"), nav = find(".gb-nav");

const note = (text) => { find(".gb-note-line").textContent = text; };
const percent = (value) => `${(100 * value).toFixed(value < 0.0995 ? 1 : 0)} %`;
const live = () => typeof server !== "undefined" && !data.baked;

// One request; null where it failed or another turn is shown meanwhile. The reason stands above the words.
const ask = async (what, more = {}) => {
  const asked = run;
  let got = data.baked?.[what] ?? { error: "This needs the model: open the app." };
  try {
    if (live()) got = (await server.ask({ run: data.run, what, ...more })) ?? { error: "The app refused: wait a moment." };
  } catch {
    got = { error: "The app does not answer: is it still running?" };
  }
  if (asked !== run) return null;
  note(got.error ?? (got.recomputed ? "The chat has gone on, so this turn was read once more." : ""));
  return got.error ? null : got;
};
// The same request is made once; `draw` when it is there.
const once = (memo, key, request) => {
  if (!memo.has(key)) {
    memo.set(key, null);
    request().then((got) => { if (got) memo.set(key, got); else setTimeout(() => memo.delete(key), 3000); drawAll(); });
  }
  return memo.get(key);
};

const load = (fresh) => {
  data = fresh;
  run += 1;
  [info, word, wordHeld, patch, options.heads] = [null, 0, false, null, null];
  [parts, sure, nearest, patches, originals].forEach((memo) => memo.clear());
  pictures.clear();
  note("");
  find(".gb-inside").hidden = true;
  startOver(data);
  drawAll();
};

const opened = new Map();
const begin = () => {
  const key = run;
  once(opened, key, async () => {
    note("Looking inside …");
    const got = await ask("open");
    if (got) show(got);
    return got;
  });
};

const show = (got) => {
  info = got;
  find(".gb-inside").hidden = false;
  find(".gb-words").replaceChildren(...info.words.map((text, index) => {
    const node = make("span", "gb-word", text);
    node.setAttribute("role", "option");
    node.dataset.word = index;
    return node;
  }));
  find("[data-heads=chosen]").hidden = !info.chosen.length;
  choices(".gb-layer-pick", "all layers", info.layers);
  choices(".gb-head-pick", "all heads", info.heads);
  choices(".gb-block-pick", null, info.blocks);
  choices(".gb-tower-head", "average of all", info.towerHeads);
  find(".gb-block-pick").value = info.blocks - 1;
  const found = info.regions.some((regions) => regions.length);
  find("[data-mode=boxes]").hidden = !found;
  if (mode === "boxes" && !found) mode = "words";
  find(".gb-raw").textContent = info.raw;
  element.querySelectorAll(".gb-picks, .gb-side .gb-layer").forEach((node) => { node.hidden = !live(); }); // they ask the model
  if (!info.media.length) { note("This chat has no picture or clip yet."); find(".gb-inside").hidden = true; }
};

const choices = (selector, all, count) => {
  const names = [...(all ? [["", all]] : []), ...Array.from({ length: count }, (_, i) => [i, i + 1])];
  find(selector).replaceChildren(...names.map(([value, text]) => Object.assign(make("option", "", String(text)), { value })));
};

// ---- what is looked at --------------------------------------------------------------------------
const medium = () => info.media[shared.pick] ?? info.media[0];
const frames = () => medium().frames;
const frame = () => Math.min(shared.frame, frames().length - 1);
const perFrame = () => medium().cells[1] * medium().cells[2];
// Where this frame's cells begin among all cells of the turn.
const offset = () => info.media.slice(0, info.media.indexOf(medium())).reduce((sum, { tokens }) => sum + tokens, 0) + frame() * perFrame();
const part = (index) => Math.floor(index / info.part) * info.part;
const looked = (index = word) => {
  const first = part(index);
  return once(parts, JSON.stringify([first, options]), () => ask("look", { first, ...options }));
};
const bytesOf = (map) => (map.bytes ??= bytes(map.shades));
const ofWord = (index) => { const got = looked(index); return got && got.maps[index - got.first]; };
const chosenHeads = () => options.heads ?? (info.chosen.length ? info.chosen : "all");
const isChosen = (layer, head) => chosenHeads() === "all" || chosenHeads().some(([l, h]) => l === layer && h === head);

const shown = () => (mode === "boxes" && originalShown()) || picture(frames()[frame()].images[0], drawAll);

// ---- words --------------------------------------------------------------------------------------
const drawWords = () => {
  const held = mode === "words" && shared.cell !== null && !tint;
  const told = info.words.map((_, index) => (held ? ofWord(index) : null));
  const most = Math.max(1e-9, ...told.map((map) => (map ? (bytesOf(map)[offset() + shared.cell] / 255) * map.top : 0)));
  find(".gb-words").childNodes.forEach((node, index) => {
    node.classList.toggle("gb-at", index === word);
    node.setAttribute("aria-selected", String(index === word));
    const map = told[index], guess = tint && sureOf(index);
    const share = map ? ((bytesOf(map)[offset() + shared.cell] / 255) * map.top) / most : 0;
    node.style.background = guess ? `color-mix(in srgb, var(--gb-special) ${Math.round(85 * (1 - guess.probability))}%, transparent)`
      : share > 0.05 ? `color-mix(in srgb, var(--gb-image) ${Math.round(75 * share)}%, transparent)` : "";
  });
  find(".gb-word-line").textContent = wordLine();
};
const sureOf = (index) => {
  const first = part(index), got = once(sure, first, () => ask("sure", { first }));
  return got && got.sure[index - first];
};
const wordLine = () => {
  if (tint) {
    const guess = sureOf(word);
    if (!guess) return "…";
    const others = guess.tokens.map(([text, chance, list]) => {
      const rest = list.filter(([other, p]) => other !== text && p >= 0.0005).slice(0, 4).map(([other, p]) => `“${other.trim()}” ${percent(p)}`);
      return (guess.tokens.length > 1 ? `“${text.trim()}” ${percent(chance)}` : "") + (rest.length ? ` or ${rest.join(", ")}` : "");
    });
    return `“${info.words[word].trim()}”: ${percent(guess.probability)} sure${others.some(Boolean) ? "; " : "."} ${others.filter(Boolean).join("; ")}`;
  }
  if (mode === "words" && shared.cell !== null) return "Words are tinted by how much they looked at this cell.";
  return mode === "words" ? `“${info.words[word].trim()}” looked at what is bright below. ${wordHeld ? "Held; click it again to let go." : "Click a word to hold it."}` : "";
};
const chooseWord = (index, hold) => {
  if (index < 0 || index >= info.words.length || (wordHeld && !hold)) return;
  wordHeld = hold ? !(wordHeld && word === index) : false;
  word = index;
  drawAll();
};
const wordUnder = (event) => Number(event.target.closest("[data-word]")?.dataset.word ?? -1);
find(".gb-words").addEventListener("pointerover", (event) => info && chooseWord(wordUnder(event), false));
find(".gb-words").addEventListener("click", (event) => info && chooseWord(wordUnder(event), true));
find(".gb-words").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step) { wordHeld = false; chooseWord(word + step, false); }
  else if (event.key === "Enter" || event.key === " ") chooseWord(word, true);
  else return;
  event.preventDefault();
});

// ---- the picture --------------------------------------------------------------------------------
const size = () => {
  const [wide, high] = mode === "boxes" ? medium().original : medium().seen, scale = Math.min(find(".gb-stage").clientWidth / wide, 420 / high);
  return [Math.round(wide * scale), Math.round(high * scale)];
};
const heatNow = () => {
  const [, rows, columns] = medium().cells;
  if (mode === "words") {
    const map = ofWord(word);
    return map && { rows, columns, shades: bytesOf(map).subarray(offset(), offset() + perFrame()), top: map.top };
  }
  if (mode !== "tower" || !patch) return null;
  const where = { medium: info.media.indexOf(medium()), frame: frame(), ...patch, block: Number(find(".gb-block-pick").value) };
  const head = find(".gb-tower-head").value;
  if (head !== "") where.head = Number(head);
  if (data.baked) return asHeat(data.baked.patch[Object.values(where)]);
  return asHeat(once(patches, JSON.stringify(where), () => { note("Running the tower on this picture …"); return ask("patch", where); }));
};
const asHeat = (got) => {
  const [, rows, columns] = medium().cells, { merge } = medium();
  return got && { rows: rows * merge, columns: columns * merge, shades: bytesOf(got), top: got.top, inside: (got.within ??= bytes(got.inside)), windowed: got.windowed };
};
const paint = (context, width, height, heat) => {
  const image = shown(), [, rows, columns] = medium().cells;
  if (image.naturalWidth) context.drawImage(image, 0, 0, width, height);
  if (heat) paintHeat(context, width, height, heat);
  const box = (cell, across, down, ink) => {
    const place = [((cell % across) * width) / across, (Math.floor(cell / across) * height) / down, width / across, height / down];
    [["#fff", 4], [ink, 2]].forEach(([style, thick]) => { context.strokeStyle = style; context.lineWidth = thick; context.strokeRect(...place); });
  };
  if (mode === "tower" && patch) box(patch.row * columns * medium().merge + patch.column, columns * medium().merge, rows * medium().merge, colour("answer"));
  else if (shared.cell !== null && mode !== "boxes") box(shared.cell, columns, rows, shared.held ? colour("answer") : "#111");
  if (mode === "boxes") paintRegions(context, width / medium().original[0], height / medium().original[1], info.regions[info.media.indexOf(medium())]);
};
const drawPicture = () => {
  const heat = heatNow(), [width, height] = size();
  paint(canvasContext(canvas, width, height), width, height, heat);
  element.dataset.heat = heat ? heat.shades.indexOf(Math.max(...heat.shades)) : "";
  find(".gb-scale").hidden = mode === "cells" || mode === "boxes";
  find(".gb-read").textContent = readOut(heat);
  if (mode === "tower") {
    find(".gb-tower-line").textContent = !patch ? "Point at a patch of the picture."
      : !heat ? (data.baked ? "Not in this file: it has the newest picture where that is small." : "…") : heat.windowed ? "In this block a patch sees only its window, outlined in the picture." : "In this block a patch sees its whole frame.";
  }
};
const readOut = (heat) => {
  if (mode === "boxes") {
    const seen = originalShown() ? `itself, ${medium().original.join(" × ")} px.` : "as the model saw it.";
    const which = info.media.length > 1 ? " The answer does not say which file it means: others can be chosen above." : "";
    return `Drawn on the ${medium().kind === "video" ? "frame" : "picture"} ${seen}${which}`;
  }
  if (mode !== "words" || shared.cell === null || !heat) return "";
  const share = (heat.shades[shared.cell] / 255) * heat.top;
  return options.normalise ? `This cell: ${share.toFixed(1)} times what is usual for it.` : `This cell: ${percent(share)} of the word's attention.`;
};

// ---- layers and heads ---------------------------------------------------------------------------
const shareAt = (layer, head) => {
  const got = looked();
  return got ? (got.nav ??= bytes(got.shares))[((word - got.first) * info.layers + layer) * info.heads + head] / 255 : 0;
};
const navSize = () => Math.max(4, Math.min(18, Math.floor(find(".gb-side").clientWidth * 0.8 / info.heads), Math.floor(260 / info.layers)));
const drawNav = () => {
  const edge = navSize(), context = canvasContext(nav, info.heads * edge, info.layers * edge);
  for (let layer = 0; layer < info.layers; layer += 1) {
    for (let head = 0; head < info.heads; head += 1) {
      context.fillStyle = ramp(shareAt(layer, head));
      context.fillRect(head * edge, layer * edge, edge - 1, edge - 1);
      if (chosenHeads() === "all" || !isChosen(layer, head)) continue;
      context.strokeStyle = colour("answer");
      context.lineWidth = 2;
      context.strokeRect(head * edge + 1, layer * edge + 1, edge - 3, edge - 3);
    }
  }
  element.querySelectorAll("[data-heads]").forEach((button) => {
    const pressed = button.dataset.heads === "all" ? chosenHeads() === "all" : JSON.stringify(chosenHeads()) === JSON.stringify(info.chosen);
    button.setAttribute("aria-pressed", String(pressed));
  });
  const only = chosenHeads().length === 1 ? chosenHeads()[0] : null;
  find(".gb-nav-line").textContent = only
    ? `Layer ${only[0] + 1}, head ${only[1] + 1}: ${percent(shareAt(...only))} of its attention lies on pictures.`
    : `Rows are layers, columns heads. Bright ones look at the picture. ${live() ? "Click one to see it alone, Shift and click to add it." : "Shown are the outlined ones."}`;
  element.dataset.only = only ? only.join() : "";
  const sinks = looked()?.sinks.length;
  find(".gb-mask").disabled = sinks === 0;
  find(".gb-mask").closest("label").title = sinks === 0 ? "No cell of this turn is like that." : "Such cells are known as attention sinks.";
};
const setHeads = (heads) => {
  if (!live()) return; // an exported page holds the usual heads
  options.heads = heads;
  const only = heads?.length === 1 && heads !== "all" ? heads[0] : ["", ""];
  [find(".gb-layer-pick").value, find(".gb-head-pick").value] = only;
  drawAll();
};
nav.addEventListener("click", (event) => {
  const box = nav.getBoundingClientRect();
  const [layer, head] = [Math.floor(((event.clientY - box.top) / box.height) * info.layers), Math.floor(((event.clientX - box.left) / box.width) * info.heads)];
  const clicked = [Math.min(layer, info.layers - 1), Math.min(head, info.heads - 1)];
  if (!(event.shiftKey || event.ctrlKey || event.metaKey) || chosenHeads() === "all") { setHeads([clicked]); return; }
  const others = chosenHeads().filter((pair) => String(pair) !== String(clicked)); // added, or taken out again
  setHeads(others.length < chosenHeads().length && others.length ? others : [...others, clicked]);
});
nav.addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  if (!moves) return;
  const [layer, head] = Array.isArray(chosenHeads()) ? chosenHeads()[0] : [0, 0];
  setHeads([[Math.max(0, Math.min(info.layers - 1, layer + moves[0])), Math.max(0, Math.min(info.heads - 1, head + moves[1]))]]);
  event.preventDefault();
});
element.querySelectorAll("[data-heads]").forEach((button) => button.addEventListener("click", () => setHeads(button.dataset.heads === "all" ? "all" : null)));
[".gb-layer-pick", ".gb-head-pick"].forEach((selector) => find(selector).addEventListener("change", () => {
  const layer = find(".gb-layer-pick").value, head = find(".gb-head-pick").value;
  const every = (count, value) => (value === "" ? Array.from({ length: count }, (_, i) => i) : [Number(value)]);
  options.heads = layer === "" && head === "" ? "all" : every(info.layers, layer).flatMap((l) => every(info.heads, head).map((h) => [l, h]));
  drawAll();
}));
const toggle = (selector, name, value) => find(selector).addEventListener("change", ({ target }) => { options[name] = value(target); drawAll(); });
toggle(".gb-how", "how", (target) => target.value);
toggle(".gb-mask", "mask", (target) => target.checked);
toggle(".gb-normal", "normalise", (target) => target.checked);
find(".gb-tint").addEventListener("change", ({ target }) => { tint = target.checked; drawAll(); });
[".gb-block-pick", ".gb-tower-head"].forEach((selector) => find(selector).addEventListener("change", () => drawAll()));
