// Escape stops the answer; files dropped or pasted anywhere beside the chat go to its box.
const box = () => document.querySelector("#box .full-container");
const hasFiles = (transfer) => transfer && [...transfer.types].includes("Files");
const own = (target) => target.closest("#box") !== null;

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.querySelector("#box .stop-button")?.click();
});

const handOver = (type, files) => {
  const transfer = new DataTransfer();
  [...files].forEach((file) => transfer.items.add(file));
  const init = { bubbles: true, cancelable: true };
  if (type === "paste") {
    document.querySelector("#box textarea").dispatchEvent(new ClipboardEvent("paste", { ...init, clipboardData: transfer }));
  } else {
    ["dragenter", "dragover", "drop"].forEach((step) => box().dispatchEvent(new DragEvent(step, { ...init, dataTransfer: transfer })));
  }
};

const left = document.querySelector("#left");
left.addEventListener("dragover", (event) => {
  if (own(event.target) || !hasFiles(event.dataTransfer)) return;
  event.preventDefault();
  left.classList.add("gb-over");
});
["dragleave", "drop", "dragend"].forEach((type) => left.addEventListener(type, () => left.classList.remove("gb-over")));
left.addEventListener("drop", (event) => {
  if (own(event.target) || !hasFiles(event.dataTransfer)) return;
  event.preventDefault();
  event.stopPropagation();
  handOver("drop", event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  const files = event.clipboardData?.files;
  if (files?.length && !own(event.target)) handOver("paste", files);
});
