// One square of the gallery: work under way, a result, or why there is none.

import { el } from "./dom.js";

const media = (type) => type.split("/")[0];

// What shows an output: a picture, a film, a sound, or the name of its type.
export function viewer(output, props = {}) {
  const kind = media(output.type);
  if (kind === "video") return el("video", { src: output.url, loop: true, playsInline: true, preload: "metadata", ...props });
  if (kind === "audio") return el("audio", { src: output.url, controls: true });
  if (kind === "image") return el("img", { src: output.url, decoding: "async", ...props });
  return el("span", { className: "file", textContent: output.type });
}

export const isImage = (output) => media(output.type) === "image";

// `open` is called when it is chosen.
export function resultTile(job, output, name, open) {
  const prompt = job.params.prompt || name;
  const shown = viewer(output, { alt: prompt, loading: "lazy", muted: true });
  shown.addEventListener("error", () => shown.replaceWith(el("span", { className: "file", textContent: "no longer kept" })));
  const button = el("button", { type: "button", className: "open", ariaLabel: `Open ${prompt}` }, shown);
  button.addEventListener("click", open);
  if (shown instanceof HTMLVideoElement) {
    button.append(el("span", { className: "badge", textContent: "▶ video" }));
    for (const name of ["pointerenter", "focus"]) button.addEventListener(name, () => shown.play().catch(() => {}));
    for (const name of ["pointerleave", "blur"]) button.addEventListener(name, () => shown.pause());
  }
  if (job.simulated) button.append(el("span", { className: "badge end", textContent: "simulated" }));
  return el("li", { className: "tile" }, button, el("p", { className: "caption", textContent: prompt }));
}

export class WaitingTile {
  constructor(job, name, cancel) {
    this.preview = el("img", { alt: "", hidden: true });
    this.bar = el("progress", { ariaLabel: `Progress of ${job.params.prompt || name}` });
    this.status = el("span", {});
    const button = el("button", { type: "button", className: "quiet", textContent: "Cancel" });
    button.addEventListener("click", cancel);
    const caption = el("p", { className: "caption" }, this.status, button);
    this.node = el("li", { className: "tile waiting" }, el("div", { className: "frame" }, this.preview, this.bar), caption);
    this.say(job.status === "pending" ? "Waiting for a GPU" : "Starting");
  }

  say(text) {
    this.status.textContent = text;
  }

  // `fraction` is of the whole run; only samplers have more than one step.
  progress({ value, max, fraction }) {
    this.bar.max = 1;
    this.bar.value = fraction;
    this.say(max > 1 ? `Step ${value} of ${max}` : `${Math.round(100 * fraction)} %`);
  }

  show(src) {
    this.preview.hidden = false;
    this.preview.src = src;
  }
}

export function failedTile(job) {
  const dismiss = el("button", { type: "button", className: "quiet", textContent: "Dismiss" });
  const frame = el("div", { className: "frame" }, el("p", { className: "refusal", textContent: job.error?.message ?? "Failed" }));
  const caption = el("p", { className: "caption" }, el("span", { textContent: "Failed, not charged" }), dismiss);
  const node = el("li", { className: "tile" }, frame, caption);
  dismiss.addEventListener("click", () => node.remove());
  return node;
}
