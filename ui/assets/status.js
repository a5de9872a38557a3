const show = () => {
  const { state, text } = read() || { state: "idle", text: "" };
  element.dataset.state = state;
  find("span").textContent = text;
};
watch("value", show);
show();
