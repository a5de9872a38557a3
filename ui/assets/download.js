watch("value", () => {
  const file = read();
  if (file) saveAs(file.name, file.type, file.text);
});
