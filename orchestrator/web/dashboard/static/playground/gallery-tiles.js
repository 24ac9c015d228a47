// One square of the gallery: work under way, a result, or why there is none.

import { el } from "./dom.js";

const medium = (output) => output.type.split("/")[0];
const word = (text) => el("span", { className: "file", textContent: text });
const extension = (output) => new URL(output.url).pathname.split(".").pop();

export const isImage = (output) => medium(output) === "image";

// What shows an output: a picture, a film, a sound, or the sort of its file.
export function viewer(output, props = {}) {
  const src = output.url;
  if (isImage(output)) return el("img", { decoding: "async", ...props, src });
  const film = { loop: true, playsInline: true, preload: "metadata" };
  if (medium(output) === "video") return el("video", { ...film, ...props, src });
  return medium(output) === "audio" ? el("audio", { src }) : word(extension(output));
}

// `open` is called when it is chosen.
export function resultTile(job, output, name, open) {
  const prompt = job.params.prompt || name;
  const silent = medium(output) === "audio";
  const shown = silent ? word("audio") : viewer(output, { alt: prompt, loading: "lazy", muted: true });
  shown.addEventListener("error", () => shown.replaceWith(word("no longer kept")));
  const button = el("button", { type: "button", className: "open", ariaLabel: `Open ${prompt}` }, shown);
  button.addEventListener("click", open);
  if (shown instanceof HTMLVideoElement) {
    button.append(el("span", { className: "badge", textContent: "▶ video" }));
    // A film that is left before it plays says so; that is nobody's concern.
    const play = () => shown.play().catch(() => {});
    for (const event of ["pointerenter", "focus"]) button.addEventListener(event, play);
    for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => shown.pause());
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
    const frame = el("div", { className: "frame" }, this.preview, this.bar);
    this.node = el("li", { className: "tile waiting" }, frame, caption);
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
  const reason = el("p", { className: "refusal", textContent: job.error?.message ?? "Failed" });
  const frame = el("div", { className: "frame" }, reason);
  const caption = el("p", { className: "caption" }, el("span", { textContent: "Failed, not charged" }), dismiss);
  const node = el("li", { className: "tile" }, frame, caption);
  dismiss.addEventListener("click", () => node.remove());
  return node;
}
