// Where a panel gets its picture from: dropped, chosen from the disk, or drawn when none is at hand.
import { element } from "./dom.js";

/** `take` gets the file. */
export function dropZone(take) {
  const input = element("input", { type: "file", accept: "image/jpeg,image/png,image/webp", change: () => input.files[0] && take(input.files[0]) });
  const over = (event) => { event.preventDefault(); zone.classList.toggle("over", event.type === "dragover"); };
  const drop = (event) => { over(event); if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]); };
  const zone = element("label", { class: "drop", dragover: over, dragleave: over, drop }, "Drop a picture here, or choose one", input);
  return zone;
}

/** A PNG of what `draw` does with a canvas' pen. */
export function drawn(width, height, draw) {
  const canvas = element("canvas", { width, height });
  draw(canvas.getContext("2d"));
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
