const fact = ([label, value, meaning]) => {
  const node = make("div", "gb-stat");
  node.dataset.stat = label;
  node.append(make("dt", "", label), make("dd", "", value), make("dd", "gb-soft", meaning));
  return node;
};

const show = () => {
  const data = read();
  if (!data) return;
  find(".gb-known").hidden = !data.can;
  find(".gb-can").textContent = data.can;
  find(".gb-cannot").textContent = data.cannot;
  find(".gb-facts-row").replaceChildren(...data.rows.map(fact));
  find(".gb-machine").textContent = data.machine && `This machine: ${data.machine}.`;
  find(".gb-loading").hidden = data.state !== "loading";
  find(".gb-loading span").textContent = `${data.text} ${seconds(data.seconds)}`;
  find(".gb-load-note").textContent = data.state === "failed" ? data.text : "";
  element.dataset.state = data.state;
};
watch("value", show);
show();
