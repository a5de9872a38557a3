const bar = find("progress");
const show = () => {
  const { state, text, share } = read() || { state: "idle", text: "" };
  element.dataset.state = state;
  find("span").textContent = text;
  bar.hidden = state !== "working" || share === null || share === undefined;
  bar.value = share ?? 0;
};
watch("value", show);
show();
