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

// A browser does not tell of a file that is picked a second time, so the picker forgets the first.
document.addEventListener("change", ({ target }) => {
  if (target.matches?.("#box input[type=file]")) setTimeout(() => { target.value = ""; });
});

// A file that is no picture has no thumbnail: a plain tile stands for it.
document.addEventListener("error", ({ target }) => {
  if (target.matches?.("#box .thumbnail-item img")) target.parentElement.classList.add("gb-no-picture");
}, true);

// A conversation that was read to its end stays at its end when the room for it changes.
let atEnd = true, tall = 0;
const talk = () => document.querySelector("#chat .bubble-wrap");
left.addEventListener("scroll", ({ target }) => {
  if (target === talk()) atEnd = target.scrollHeight - target.scrollTop - target.clientHeight < 40;
}, true);
const room = new ResizeObserver(([entry]) => {
  const now = entry.contentRect.height;
  if (now < tall && atEnd) talk()?.scrollTo(0, talk().scrollHeight);
  tall = now;
});
const watchRoom = () => {
  const chat = document.querySelector("#chat"); // Gradio puts it in later
  if (chat) room.observe(chat);
  else requestAnimationFrame(watchRoom);
};
watchRoom();
