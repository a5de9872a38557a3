const show = () => {
  const { chips, note, state } = read();
  const items = chips.map(([name, text]) => {
    const chip = make("span");
    chip.append(make("small", "", name), make("b", "", text));
    return chip;
  });
  const words = make("span", "gb-note gb-" + state, note);
  find(".gb-model").replaceChildren(...items, ...(note ? [words] : []));
};
watch("value", show);
show();
