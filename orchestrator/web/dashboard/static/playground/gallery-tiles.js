// Tiles of the gallery: an unfinished shard, an output, or a job that failed or was cancelled.

/** @import { EndedTile, Output, OutputTile, ProgressTile } from "../types.d.ts" */
/** @import { ProgressState } from "./progress-state.js" */

import { ApiError } from "../shared/api.js";
import { button, el } from "../shared/dom.js";

/** @param {Output} output */
const mediaType = (output) => output.type.split("/")[0];

/** @param {Output} output */
const fileExtension = (output) => new URL(output.url, location.href).pathname.split(".").pop() ?? "file";

/** @param {Output} output */
export const isImage = (output) => mediaType(output) === "image";

/** @param {Output} output */
export const isVideo = (output) => mediaType(output) === "video";

/**
 * Create an element that shows an output in full: an image, a video or audio player, or the file's extension.
 * @param {Output} output
 * @param {string} alt
 */
export function outputPreview(output, alt) {
  switch (mediaType(output)) {
    case "image":
      return el("img", { decoding: "async", alt, src: output.url });
    case "video":
      return el("video", { loop: true, playsInline: true, preload: "auto", ariaLabel: alt, src: output.url });
    case "audio":
      return el("audio", { ariaLabel: alt, src: output.url });
    default:
      return el("span", { className: "file-type", textContent: fileExtension(output) });
  }
}

/**
 * Return why a file cannot be shown, by the error that the service gave for its job.
 * @param {unknown} error
 */
export function missingReason(error) {
  if (!(error instanceof ApiError)) throw error;
  if (error.code === "unreachable") return navigator.onLine ? "service unreachable" : "offline";
  return ["job_not_found", "expired", "output_expired", "not_found"].includes(error.code ?? "")
    ? "no longer kept"
    : "cannot be shown now";
}

/**
 * Create the tile of an output.
 * @param {OutputTile} tile
 * @param {{ open: () => void, refresh: () => Promise<unknown> }} actions
 */
export function outputTile({ job, output, modelName, key }, { open, refresh }) {
  const title = job.params.prompt || modelName;
  const opener = el("button", { type: "button", className: "tile-button", ariaLabel: `Open ${title}` });
  opener.addEventListener("click", open);
  const media = el("div", { className: "tile-media" }, opener);
  const showText = (/** @type {string} */ text) => {
    opener.replaceChildren(el("span", { className: "file-type", textContent: text }));
    opener.ariaLabel = `Open ${title}, ${text}`;
  };
  if (job.expired) showText("no longer kept");
  else if (output.thumbnail) opener.append(thumbnail(output.thumbnail, title, refresh, showText));
  else showText(mediaType(output) === "audio" ? "audio" : fileExtension(output));
  if (isVideo(output)) {
    media.append(el("span", { className: "badge", textContent: "▶ video" }));
    playOnHover(opener, output);
  }
  if (job.simulated) media.append(el("span", { className: "badge push-right", textContent: "simulated" }));
  if (isImage(output)) makeDraggable(opener, output);
  const node = el("li", { className: "tile" }, media, el("p", { className: "caption", textContent: title, title }));
  node.dataset.key = key;
  return node;
}

/**
 * Create the small image of an output. When it cannot be loaded, the reason is asked for.
 * @param {string} src
 * @param {string} alt
 * @param {() => Promise<unknown>} refresh
 * @param {(text: string) => void} showText
 */
function thumbnail(src, alt, refresh, showText) {
  const image = el("img", { decoding: "async", loading: "lazy", alt, src });
  image.addEventListener("error", async () => {
    showText(await refresh().then(() => "no preview", missingReason));
  });
  return image;
}

/**
 * Let an image be dropped on an input of the form.
 * @param {HTMLElement} node
 * @param {Output} output
 */
function makeDraggable(node, output) {
  node.draggable = true;
  node.addEventListener("dragstart", ({ dataTransfer }) => {
    dataTransfer?.setData("text/uri-list", new URL(output.url, location.href).href);
    dataTransfer?.setData("application/x-pixelfactory-output", output.url);
  });
}

/**
 * Play the video in place of its small image while the pointer or the focus is on its button.
 * @param {HTMLButtonElement} opener
 * @param {Output} output
 */
function playOnHover(opener, output) {
  /** @type {HTMLVideoElement | undefined} */
  let video;
  const play = () => {
    if (video || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    video = el("video", { loop: true, playsInline: true, muted: true, ariaHidden: "true", src: output.url });
    opener.append(video);
    // play() rejects when the video is removed before it has started; there is nothing to do then.
    video.play().catch(() => {});
  };
  const stop = () => {
    video?.remove();
    video = undefined;
  };
  for (const name of ["pointerenter", "focus"]) opener.addEventListener(name, play);
  for (const name of ["pointerleave", "blur"]) opener.addEventListener(name, stop);
}

/**
 * Create the tile of a shard that waits or runs.
 * @param {ProgressTile} tile
 * @param {() => void} onCancel
 */
export function progressTile({ job, modelName, key, index, state }, onCancel) {
  const title = job.params.prompt || modelName;
  const which = job.shards.total > 1 ? ` ${index + 1} of ${job.shards.total}` : "";
  const cancel = button("Cancel", onCancel, "quiet");
  cancel.ariaLabel = `Cancel${which}`;
  const frame = el(
    "div",
    { className: "tile-frame" },
    el("img", { alt: "", hidden: true }),
    el("progress", { ariaLabel: `Progress of ${title}${which}` }),
  );
  const node = el("li", { className: "tile in-progress" }, frame, el("p", { className: "caption" }, el("span", {}), cancel));
  node.dataset.key = key;
  updateProgressTile(node, state);
  return node;
}

/**
 * Show progress, preview and what happens now.
 * @param {HTMLElement} node
 * @param {ProgressState} state
 */
export function updateProgressTile(node, state) {
  const [image, bar, text] = /** @type {[HTMLImageElement, HTMLProgressElement, HTMLElement]} */ (
    ["img", "progress", ".caption span"].map((selector) => node.querySelector(selector))
  );
  if (state.progress) Object.assign(bar, { max: 1, value: state.progress.fraction });
  if (state.previewUrl && image.src !== state.previewUrl) Object.assign(image, { hidden: false, src: state.previewUrl });
  if (text.textContent !== state.text) text.textContent = state.text;
}

/**
 * Create the tile of a job that failed, with the reason, or that was cancelled.
 * @param {EndedTile} tile
 * @param {{ retry: () => void, remove: () => void }} actions
 */
export function endedTile({ job, modelName, key }, { retry, remove }) {
  const title = job.params.prompt || modelName;
  const hasFailed = job.status === "failed";
  const reason = hasFailed ? (job.error?.message ?? "The job failed.") : "Cancelled";
  const frame = el("div", { className: "tile-frame" }, el("p", { className: hasFailed ? "error" : "hint", textContent: reason }));
  const again = button("Try again", retry, "quiet");
  again.ariaLabel = `Try again: ${title}`;
  const trash = button("Delete", remove, "quiet");
  trash.ariaLabel = `Delete: ${title}`;
  const state = el("span", { textContent: hasFailed ? "Failed, not charged" : "Not charged", title });
  const node = el("li", { className: "tile" }, frame, el("p", { className: "caption" }, state, again, trash));
  node.dataset.key = key;
  return node;
}
