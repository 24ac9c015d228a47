// A dialog with one output in full size and the settings that it was made with.

/** @import { GalleryItem, LightboxOptions } from "../types.d.ts" */

import { ApiError } from "../shared/api.js";
import { byId, definitions } from "../shared/dom.js";
import { dateTime, dollars, parameterLabel } from "../shared/format.js";
import { FrameScrubber } from "./frame-scrubber.js";
import { isImage, isVideo, missingReason, outputPreview } from "./gallery-tiles.js";
import { loraName } from "./lora-control.js";

// Parameters that are shown elsewhere in the dialog.
const HIDDEN_PARAMETERS = new Set(["prompt", "n", "width", "height", "seed"]);
/** @type {Record<string, number>} */
const ARROW_KEYS = { ArrowLeft: -1, ArrowRight: 1 };

export class Lightbox {
  /** @param {LightboxOptions} options */
  constructor({ listItems, loadOlder, actions }) {
    this.listItems = listItems;
    this.loadOlder = loadOlder;
    this.actions = actions;
    /** @type {GalleryItem | undefined} */
    this.item = undefined;
    this.dialog = byId("lightbox", HTMLDialogElement);
    this.scrubber = new FrameScrubber(byId("scrubber"));
    byId("close").addEventListener("click", () => this.dialog.close());
    byId("previous").addEventListener("click", () => this.#move(-1));
    byId("next").addEventListener("click", () => this.#move(1));
    byId("reuse").addEventListener("click", () => this.#leave((item) => actions.reuseSettings(item)));
    byId("upscale").addEventListener("click", () => this.#leave((item) => actions.useAsInput(item, "upscale")));
    byId("animate").addEventListener("click", () => this.#leave((item) => actions.useAsInput(item, "i2v")));
    byId("edit").addEventListener("click", () => this.#leave((item) => actions.useAsInput(item, "edit")));
    byId("compare").addEventListener("click", () => this.#leave((item) => actions.startComparison(item)));
    byId("item-code").addEventListener("click", () => this.item && actions.showCode(this.item.job));
    byId("delete").addEventListener("click", () => this.#leave((item) => actions.remove(item)));
    this.dialog.addEventListener("close", () => byId("preview").replaceChildren());
    // A click on the backdrop has the dialog itself as its target.
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.dialog.addEventListener("keydown", (event) => {
      const step = ARROW_KEYS[event.key];
      // In a player or a slider, the arrow keys seek.
      const seeks = event.target instanceof HTMLMediaElement || event.target instanceof HTMLInputElement;
      if (step && !seeks) this.#move(step);
    });
  }

  /** @param {GalleryItem} item */
  open(item) {
    this.item = item;
    const { job, output } = item;
    this.#showPreview(item);
    byId("item-prompt").textContent = job.params.prompt ?? "";
    byId("item-details").replaceChildren(...definitions(itemDetails(item)));
    byId("download", HTMLAnchorElement).href = item.downloadUrl;
    for (const id of ["upscale", "animate", "edit", "compare"]) byId(id).hidden = !isImage(output);
    for (const kind of /** @type {const} */ (["upscale", "i2v", "edit"])) {
      if (!this.actions.canUseAsInput(kind)) byId(kind === "i2v" ? "animate" : kind).hidden = true;
    }
    this.#updateArrows();
    if (!this.dialog.open) this.dialog.showModal();
  }

  /** @param {GalleryItem} item */
  #showPreview(item) {
    const { job, output } = item;
    const preview = outputPreview(output, job.params.prompt || item.modelName);
    if (preview instanceof HTMLMediaElement) Object.assign(preview, { controls: true, autoplay: true });
    if (job.expired) return this.#showReason("no longer kept");
    byId("preview").replaceChildren(preview);
    this.scrubber.attach(isVideo(output) ? /** @type {HTMLVideoElement} */ (preview) : undefined, output);
    preview.addEventListener("error", () => this.#reload(item), { once: true });
  }

  /**
   * Show the file by a fresh URL: that of a page which has been open for long has expired.
   * @param {GalleryItem} item
   */
  async #reload(item) {
    try {
      const fresh = await this.actions.refresh(item);
      if (this.item !== item) return;
      if (!fresh || fresh.output.url === item.output.url) return this.#showReason("cannot be shown");
      this.item = fresh;
      this.#showPreview(fresh);
    } catch (error) {
      this.#showReason(missingReason(error));
    }
  }

  /** @param {string} reason */
  #showReason(reason) {
    this.scrubber.attach(undefined);
    const text = { "no longer kept": "This file is no longer kept.", offline: "You are offline: the file cannot be loaded." };
    const sentence = text[/** @type {keyof typeof text} */ (reason)] ?? `The file ${reason}. Try again later.`;
    const node = document.createElement("p");
    node.className = "hint";
    node.setAttribute("role", "status");
    node.textContent = sentence;
    byId("preview").replaceChildren(node);
  }

  #updateArrows() {
    const items = this.listItems();
    byId("previous", HTMLButtonElement).disabled = items[0]?.downloadUrl === this.item?.downloadUrl;
    byId("next", HTMLButtonElement).disabled = items.at(-1)?.downloadUrl === this.item?.downloadUrl;
  }

  /** @param {number} step */
  async #move(step) {
    const items = this.listItems();
    const index = items.findIndex((item) => item.downloadUrl === this.item?.downloadUrl) + step;
    if (items[index]) this.open(items[index]);
    if (index < items.length - 2) return;
    await this.loadOlder();
    this.#updateArrows();
  }

  /** @param {(item: GalleryItem) => unknown} action */
  async #leave(action) {
    this.dialog.close();
    if (!this.item) return;
    try {
      await action(this.item);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.actions.showProblem(error.message);
    }
  }
}

/**
 * Return the settings, cost and times of an item.
 * @param {GalleryItem} item
 */
function itemDetails({ job, output, modelName }) {
  /** @type {[string, string][]} */
  const details = [["Model", modelName]];
  if (output.width) details.push(["Size", `${output.width} × ${output.height}`]);
  if (output.frames && output.fps) details.push(["Length", `${(output.frames / output.fps).toFixed(1)} s, ${output.frames} frames`]);
  if (output.seed !== null) details.push(["Seed", output.seed]);
  for (const [name, value] of Object.entries(job.params)) {
    if (HIDDEN_PARAMETERS.has(name) || value === null || value === "" || typeof value === "object") continue;
    details.push([parameterLabel(name), String(value)]);
  }
  for (const lora of job.params.loras ?? []) details.push(["LoRA", `${loraName(lora)} (${lora.strength ?? 1})`]);
  const made = job.shards.done;
  details.push(["Cost", dollars(job.costUsd) + (made > 1 ? ` for ${made}` : "")]);
  if (job.finishedAt) details.push(["Finished", dateTime(job.finishedAt)]);
  if (job.expiresAt) details.push(["Kept until", dateTime(job.expiresAt)]);
  return details;
}
