// Tiles of the gallery: an unfinished shard, an output, or a failed job.

/** @import { Job, Output } from "../types.d.ts" */

import { button, el } from "../shared/dom.js";

/** @param {Output} output */
const mediaType = (output) => output.type.split("/")[0];

/** @param {string} text */
const textPreview = (text) => el("span", { className: "file-type", textContent: text });

/** @param {Output} output */
const fileExtension = (output) => new URL(output.url, location.href).pathname.split(".").pop() ?? "file";

/** @param {Output} output */
export const isImage = (output) => mediaType(output) === "image";

/**
 * Create an element that shows an output: an image, a video or audio player, or the file's extension.
 * @param {Output} output
 * @param {{ alt: string, isThumbnail?: boolean }} options
 */
export function outputPreview(output, { alt, isThumbnail = false }) {
  const src = output.url;
  switch (mediaType(output)) {
    case "image":
      return el("img", { decoding: "async", loading: isThumbnail ? "lazy" : "eager", alt, src });
    case "video":
      return el("video", { loop: true, playsInline: true, preload: "metadata", muted: isThumbnail, ariaLabel: alt, src });
    case "audio":
      return isThumbnail ? textPreview("audio") : el("audio", { src });
    default:
      return textPreview(fileExtension(output));
  }
}

/**
 * Create the tile of an output.
 * @param {Job} job
 * @param {Output} output
 * @param {string} modelName
 * @param {() => void} onOpen
 */
export function outputTile(job, output, modelName, onOpen) {
  const title = job.params.prompt || modelName;
  const preview = outputPreview(output, { alt: title, isThumbnail: true });
  preview.addEventListener("error", () => preview.replaceWith(textPreview("file expired")));
  const open = el("button", { type: "button", className: "tile-button", ariaLabel: `Open ${title}` }, preview);
  open.addEventListener("click", onOpen);
  if (preview instanceof HTMLVideoElement) {
    open.append(el("span", { className: "badge", textContent: "▶ video" }));
    playOnHover(preview, open);
  }
  if (job.simulated) open.append(el("span", { className: "badge push-right", textContent: "simulated" }));
  return el("li", { className: "tile" }, open, el("p", { className: "caption", textContent: title }));
}

/**
 * Play a video while the pointer or the focus is on its button.
 * @param {HTMLVideoElement} video
 * @param {HTMLButtonElement} button
 */
function playOnHover(video, button) {
  // play() rejects when pause() comes before the video has started; there is nothing to do then.
  const play = () => video.play().catch(() => {});
  for (const name of ["pointerenter", "focus"]) button.addEventListener(name, play);
  for (const name of ["pointerleave", "blur"]) button.addEventListener(name, () => video.pause());
}

/** The tile of a shard that waits or runs. */
export class ProgressTile {
  /**
   * @param {Job} job
   * @param {string} modelName
   * @param {() => void} onCancel
   */
  constructor(job, modelName, onCancel) {
    this.preview = el("img", { alt: "", hidden: true });
    this.progressBar = el("progress", { ariaLabel: `Progress of ${job.params.prompt || modelName}` });
    this.status = el("span", {});
    const caption = el("p", { className: "caption" }, this.status, button("Cancel", onCancel, "quiet"));
    const frame = el("div", { className: "tile-frame" }, this.preview, this.progressBar);
    this.node = el("li", { className: "tile in-progress" }, frame, caption);
    this.showStatus(job.status === "pending" ? "Waiting for a GPU" : "Starting");
  }

  /** @param {string} text */
  showStatus(text) {
    this.status.textContent = text;
  }

  /**
   * Show the progress of the whole run, and the step if the current node has several.
   * @param {{ value: number, max: number, fraction: number }} progress
   */
  showProgress({ value, max, fraction }) {
    this.progressBar.max = 1;
    this.progressBar.value = fraction;
    this.showStatus(max > 1 ? `Step ${value} of ${max}` : `${Math.round(100 * fraction)} %`);
  }

  /** @param {string} src */
  showPreview(src) {
    this.preview.hidden = false;
    this.preview.src = src;
  }
}

/**
 * Create the tile of a failed job, with the reason.
 * @param {Job} job
 */
export function failedTile(job) {
  const reason = el("p", { className: "error", textContent: job.error?.message ?? "The job failed." });
  const frame = el("div", { className: "tile-frame" }, reason);
  const dismiss = button("Dismiss", () => node.remove(), "quiet");
  const caption = el("p", { className: "caption" }, el("span", { textContent: "Failed, not charged" }), dismiss);
  const node = el("li", { className: "tile" }, frame, caption);
  return node;
}
