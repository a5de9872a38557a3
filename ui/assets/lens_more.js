// The rest of the Lens panel: cells, boxes, modes, pointing, saving, and drawing it all.
const nearestOf = () => {
  if (shared.cell === null) return null;
  const where = { medium: info.media.indexOf(medium()), cell: frame() * perFrame() + shared.cell };
  if (data.baked) return data.baked.cell[Object.values(where)];
  return once(nearest, JSON.stringify(where), () => ask("cell", where));
};
const drawNearest = () => {
  const got = nearestOf();
  find(".gb-nearest-line").textContent = shared.cell === null ? "Point at a cell of the picture."
    : got ? "If the model ended after that stage, these would be its likeliest words here. A tap is what DeepStack adds, by itself."
    : data.baked ? "The words of this cell are not in this file: it has those of small pictures." : "…";
  const rows = (got?.stages ?? []).flatMap(([stage, words]) => {
    const said = make("dd");
    said.append(...words.map(([text, share]) => {
      const chip = make("span", "", text.trim() === "" ? "␣" : text.trim());
      chip.title = percent(share);
      chip.style.background = `color-mix(in srgb, var(--gb-image) ${Math.round(10 + 70 * share)}%, transparent)`;
      return chip;
    }));
    return [make("dt", "", stage), said];
  });
  find(".gb-nearest").replaceChildren(...rows);
};

// Boxes lie on the file itself, not on what the model saw of it.
const originalOf = () => {
  const where = { medium: info.media.indexOf(medium()), frame: frame() };
  if (data.baked) return data.baked.original[Object.values(where)];
  return once(originals, JSON.stringify(where), () => ask("original", where));
};
const originalShown = () => {
  const source = originalOf()?.image, image = source && picture(source, drawAll);
  return image?.naturalWidth ? image : null;
};
const paintRegions = (context, across, down, regions) => {
  context.font = "600 13px system-ui, sans-serif";
  regions.forEach(({ kind, numbers, label }, index) => {
    const [x, y, right, bottom] = numbers.map((value, i) => value * (i % 2 ? down : across));
    [["#fff", 5], [colour("answer"), 2.5]].forEach(([style, thick]) => {
      context.strokeStyle = style;
      context.lineWidth = thick;
      context.beginPath();
      if (kind === "point") context.arc(x, y, 6, 0, 7);
      else context.rect(x, y, right - x, bottom - y);
      context.stroke();
    });
    const text = `${index + 1} ${label}`.trim(), wide = context.measureText(text).width + 10;
    const left = Math.max(0, Math.min(x, context.canvas.clientWidth - wide)), top = Math.max(0, y - 20);
    context.fillStyle = colour("answer");
    context.fillRect(left, top, wide, 19);
    context.fillStyle = colour("on-strong");
    context.fillText(text, left + 5, top + 14);
  });
};
const drawRegions = () => {
  const regions = info.regions[info.media.indexOf(medium())] ?? [];
  find(".gb-regions").replaceChildren(...regions.map(({ kind, numbers, label }) => {
    const rounded = numbers.map(Math.round);
    const where = kind === "box" ? `x ${rounded[0]}–${rounded[2]}, y ${rounded[1]}–${rounded[3]} px` : `at ${rounded.join(", ")} px`;
    return make("li", "", `${label || kind}: ${where}`);
  }));
};

// ---- modes, media, time -------------------------------------------------------------------------
element.querySelectorAll("[data-mode]").forEach((button) => button.addEventListener("click", () => { mode = button.dataset.mode; drawAll(); }));
const chooseMedium = (pick) => { tellCell({ pick, frame: 0, cell: null, held: false }); patch = null; drawAll(); };
const drawChoices = () => {
  element.dataset.mode = mode;
  find("[data-save=npz]").hidden = mode !== "words" || tint || !live();
  element.querySelectorAll("[data-mode]").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.mode === mode)));
  element.querySelectorAll("[data-for]").forEach((section) => { section.hidden = section.dataset.for !== mode; });
  mediaButtons(find(".gb-chips"), info.media, info.media.indexOf(medium()), chooseMedium);
  find(".gb-scrub").hidden = medium().kind !== "video";
  find(".gb-scrub input").max = frames().length - 1;
  find(".gb-scrub input").value = frame();
  const times = frames()[frame()].times.map((second) => second.toFixed(2) + " s").join(" and ");
  find(".gb-scrub span").textContent = `Moment ${frame() + 1} of ${frames().length}: frames at ${times || "unknown times"}`;
  find(".gb-heat").dataset.rows = `${medium().cells[1]}×${medium().cells[2]}`;
};
find(".gb-scrub input").addEventListener("input", ({ target }) => { tellCell({ frame: Number(target.value) }); drawAll(); });

const drawAll = () => {
  if (!data || !element.clientWidth) return;
  if (!info) { begin(); return; }
  if (!info.media.length || !info.words.length) return;
  drawChoices();
  drawWords();
  drawPicture();
  if (mode === "words") drawNav();
  if (mode === "cells") drawNearest();
  if (mode === "boxes") drawRegions();
};

// ---- pointing -----------------------------------------------------------------------------------
const under = (event, merge = 1) => {
  const box = canvas.getBoundingClientRect(), [, rows, columns] = medium().cells;
  const at = (value, from, length, count) => Math.max(0, Math.min(count - 1, Math.floor(((value - from) / length) * count)));
  return { row: at(event.clientY, box.top, box.height, rows * merge), column: at(event.clientX, box.left, box.width, columns * merge) };
};
const cellUnder = (event) => { const { row, column } = under(event); return row * medium().cells[2] + column; };
let waiting = null;
canvas.addEventListener("pointermove", (event) => {
  if (!info || mode === "boxes") return;
  if (mode === "tower") {
    const found = under(event, medium().merge);
    if (shared.held || (patch?.row === found.row && patch?.column === found.column)) return;
    clearTimeout(waiting); // a request for every patch on the way would be many
    waiting = setTimeout(() => { patch = found; drawAll(); }, 60);
    return;
  }
  const cell = cellUnder(event);
  if (shared.held || shared.cell === cell) return;
  clearTimeout(waiting);
  waiting = setTimeout(() => { tellCell({ cell }); drawAll(); }, mode === "cells" ? 120 : 0);
});
canvas.addEventListener("pointerleave", () => {
  clearTimeout(waiting);
  if (!info || shared.held || mode === "tower") return;
  tellCell({ cell: null });
  drawAll();
});
canvas.addEventListener("click", (event) => {
  if (!info || mode === "boxes") return;
  clearTimeout(waiting);
  if (mode === "tower") patch = under(event, medium().merge);
  holdCell(cellUnder(event));
  drawAll();
});
canvas.addEventListener("keydown", (event) => {
  const columns = medium().cells[2], moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  if (event.key === "Enter" || event.key === " ") { if (shared.cell !== null) holdCell(shared.cell); }
  else if (event.key in moves) {
    const next = shared.cell === null ? 0 : shared.cell + moves[event.key];
    if (next < 0 || next >= perFrame()) return;
    tellCell({ cell: next });
    if (mode === "tower") patch = { row: Math.floor(next / columns) * medium().merge, column: (next % columns) * medium().merge };
  } else return;
  event.preventDefault();
  drawAll();
});

// ---- saving -------------------------------------------------------------------------------------
const savePicture = () => {
  const sheet = make("canvas"), [width, height] = medium().original, scale = Math.min(1, 2048 / Math.max(width, height));
  [sheet.width, sheet.height] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  paint(sheet.getContext("2d"), sheet.width, sheet.height, heatNow());
  sheet.toBlob((blob) => saveAs(`glassbox-${mode}.png`, "image/png", blob));
};
// What is looked at as a table: its name, headings and rows. All words' maps come from the service, where there is one.
const tableNow = () => {
  if (tint) {
    return ["sure", ["word", "text", "token", "probability", "alternatives"], info.words.flatMap((text, index) => (sureOf(index)?.tokens ?? []).map(
      ([token, chance, others]) => [index, text, token, chance, others.map(([other, p]) => `${other} ${p.toFixed(4)}`).join("; ")]))];
  }
  if (mode === "cells") {
    const stages = nearestOf()?.stages ?? [];
    return ["nearest", ["stage", "rank", "text", "probability"], stages.flatMap(([stage, words]) => words.map(([text, share], rank) => [stage, rank + 1, text, share]))];
  }
  if (mode === "boxes") {
    return ["boxes", ["medium", "kind", "label", "x0", "y0", "x1", "y1"], info.media.flatMap(({ name }, index) =>
      info.regions[index].map(({ kind, label, numbers }) => [name, kind, label, ...numbers, ...(kind === "point" ? ["", ""] : [])]))];
  }
  const heat = heatNow(), value = (index) => ((heat.shades[index] / 255) * heat.top).toPrecision(3);
  const rows = heat ? [...heat.shades.keys()].map((index) => [Math.floor(index / heat.columns), index % heat.columns, value(index)]) : [];
  return [mode === "tower" ? "patch" : "word", ["row", "column", "attention"], rows];
};
element.querySelectorAll("[data-save]").forEach((button) => button.addEventListener("click", async () => {
  const kind = button.dataset.save;
  if (kind === "png") { savePicture(); return; }
  if (kind === "csv" && (tint || mode !== "words" || !live())) {
    const [name, headings, rows] = tableNow();
    if (rows.length) saveTable(`glassbox-${name}.csv`, headings, rows);
    else note("Point at the picture first.");
    return;
  }
  note("Writing the file …");
  const got = await ask("file", { kind, ...options });
  if (got) saveAs(`glassbox-attention.${kind}`, kind === "csv" ? "text/csv" : "application/octet-stream", bytes(got.base64));
}));

onCell(drawAll);
keepDrawn(load, drawAll);
