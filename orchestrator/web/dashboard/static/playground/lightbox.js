// A dialog with one output in full size and the settings that it was made with.

/** @import { GalleryActions, GalleryItem } from "../types.d.ts" */

import { byId, definitions } from "../shared/dom.js";
import { dateTime, dollars, parameterLabel } from "../shared/format.js";
import { isImage, outputPreview } from "./gallery-tiles.js";

// Parameters that are shown elsewhere in the dialog.
const HIDDEN_PARAMETERS = new Set(["prompt", "n", "width", "height"]);
/** @type {Record<string, number>} */
const ARROW_KEYS = { ArrowLeft: -1, ArrowRight: 1 };

export class Lightbox {
  /**
   * @param {() => GalleryItem[]} listItems Returns all items in the order of the gallery.
   * @param {GalleryActions} actions
   */
  constructor(listItems, actions) {
    this.listItems = listItems;
    /** @type {GalleryItem | undefined} */
    this.item = undefined;
    this.dialog = byId("lightbox", HTMLDialogElement);
    byId("close").addEventListener("click", () => this.dialog.close());
    byId("previous").addEventListener("click", () => this.#move(-1));
    byId("next").addEventListener("click", () => this.#move(1));
    byId("reuse").addEventListener("click", () => this.#leave((item) => actions.reuseSettings(item.job)));
    byId("upscale").addEventListener("click", () => this.#leave((item) => actions.useAsInput(item, "upscale")));
    byId("animate").addEventListener("click", () => this.#leave((item) => actions.useAsInput(item, "i2v")));
    this.dialog.addEventListener("close", () => byId("preview").replaceChildren());
    // A click on the backdrop has the dialog itself as its target.
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.dialog.addEventListener("keydown", (event) => {
      const step = ARROW_KEYS[event.key];
      // In a player, the arrow keys seek.
      if (step && !(event.target instanceof HTMLMediaElement)) this.#move(step);
    });
  }

  /** @param {GalleryItem} item */
  open(item) {
    this.item = item;
    const { job, output } = item;
    const preview = outputPreview(output, { alt: job.params.prompt || item.modelName });
    if (preview instanceof HTMLMediaElement) Object.assign(preview, { controls: true, autoplay: true });
    byId("preview").replaceChildren(preview);
    byId("item-prompt").textContent = job.params.prompt ?? "";
    byId("item-details").replaceChildren(...definitions(itemDetails(item)));
    byId("download", HTMLAnchorElement).href = item.downloadUrl;
    for (const id of ["upscale", "animate"]) byId(id).hidden = !isImage(output);
    const items = this.listItems();
    byId("previous", HTMLButtonElement).disabled = items[0] === item;
    byId("next", HTMLButtonElement).disabled = items.at(-1) === item;
    if (!this.dialog.open) this.dialog.showModal();
  }

  /** @param {number} step */
  #move(step) {
    const items = this.listItems();
    const target = items[items.findIndex((item) => item === this.item) + step];
    if (target) this.open(target);
  }

  /** @param {(item: GalleryItem) => void} action */
  #leave(action) {
    this.dialog.close();
    if (this.item) action(this.item);
  }
}

/**
 * Return the settings, cost and time of an item.
 * @param {GalleryItem} item
 */
function itemDetails({ job, output, modelName, index }) {
  /** @type {[string, string][]} */
  const details = [["Model", modelName]];
  if (output.width) details.push(["Size", `${output.width} × ${output.height}`]);
  for (const [name, value] of Object.entries(job.params)) {
    if (HIDDEN_PARAMETERS.has(name) || value === null || value === "" || typeof value === "object") continue;
    // Outputs of one job have consecutive seeds, which may be too large for a number.
    const text = name === "seed" ? BigInt(value) + BigInt(index) : value;
    details.push([parameterLabel(name), String(text)]);
  }
  const shards = job.shards.total;
  details.push(["Cost", dollars(job.costUsd) + (shards > 1 ? ` for ${shards}` : "")]);
  if (job.finishedAt) details.push(["Finished", dateTime(job.finishedAt)]);
  return details;
}
