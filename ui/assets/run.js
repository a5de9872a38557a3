// A stage takes the colour of what it works on.
const KINDS = { waiting: "special", files: "text", vision: "image", prompt: "video", answer: "answer" };
let data = null;

const took = (value) => (value < 1000 ? `${value < 10 ? value.toFixed(1) : Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`);

const slice = ([name, value]) => {
  const part = make("i", "gb-" + KINDS[name]);
  part.style.flexGrow = value;
  part.title = `${name}: ${took(value)}`;
  return part;
};

const legend = ([name, value]) => {
  const item = make("span", "gb-" + KINDS[name]);
  item.append(make("i", "gb-dot"), make("span", "", name), make("b", "", took(value)));
  return item;
};

const stat = ([label, value, meaning]) => {
  const node = make("div", "gb-stat");
  node.dataset.stat = label;
  node.append(make("dt", "", label), make("dd", "", value), make("dd", "gb-soft", meaning));
  return node;
};

const load = (fresh) => {
  data = fresh;
  find(".gb-stages").replaceChildren(...data.stages.map(slice));
  find(".gb-legend").replaceChildren(...data.stages.map(legend));
  find(".gb-now").textContent = data.live ? data.stage + " …" : "";
  find(".gb-stats").replaceChildren(...data.stats.map(stat));
  find(".gb-notes").replaceChildren(...data.notes.map((note) => make("li", "", note)));
};

keepDrawn(load, () => {});
