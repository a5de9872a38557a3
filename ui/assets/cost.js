const times = (medium) => {
  const shown = medium.times.map((second) => second.toFixed(1));
  const words = shown.length > 9 ? [...shown.slice(0, 4), "…", ...shown.slice(-2)] : shown;
  return `${shown.length} frame${shown.length === 1 ? "" : "s"} at ${words.join(", ")} s`;
};

const line = (medium) => {
  const row = make("li", "gb-" + (medium.kind || "bad"));
  row.append(make("b", "", medium.name));
  if (medium.error) {
    row.append(make("span", "gb-problem", medium.error.replace(medium.name + ": ", "")));
    return row;
  }
  const clip = medium.kind === "video";
  const cells = (clip ? medium.cells : medium.cells.slice(1)).join(" × ");
  row.append(
    make("span", "", `${medium.original.join(" × ")} → ${medium.seen.join(" × ")} px, ${cells} cells`),
    make("strong", "", `${number(medium.tokens)} tokens`),
  );
  if (clip) row.append(make("small", "", times(medium)));
  return row;
};

const sum = ({ vision_tokens, new_tokens, total_tokens, context, seconds: wait, problem, choices }) => {
  if (problem) return `${problem} ${choices.length ? "Sending offers ways out: " + choices.join("; ") + "." : ""}`;
  const soon = wait === null ? "" : wait < 0.1 ? " · first word in under 0.1 s" : ` · first word in about ${seconds(wait)}`;
  return `${number(vision_tokens)} vision tokens · ${number(new_tokens)} tokens to compute · ` +
    `${number(context - total_tokens)} of ${number(context)} left${soon}`;
};

const show = () => {
  const data = read();
  find(".gb-body").hidden = !data;
  element.classList.toggle("gb-open", Boolean(data));
  document.querySelector("#left")?.classList.toggle("gb-files-wait", Boolean(data));
  if (!data) return;
  find(".gb-files").replaceChildren(...data.media.map(line));
  find(".gb-sum").textContent = sum(data);
  find(".gb-sum").classList.toggle("gb-problem", Boolean(data.problem));
  element.dataset.tokens = data.vision_tokens;
  document.querySelector("#left")?.classList.toggle("gb-clip-waits", data.media.some((medium) => medium.kind === "video"));
};
watch("value", show);
show();
