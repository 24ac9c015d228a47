// Compares two images by a slider: the first is shown left of it, the second right of it.

/** @import { GalleryItem } from "../types.d.ts" */

import { byId, el } from "../shared/dom.js";

export class Comparison {
  constructor() {
    /** @type {GalleryItem | undefined} The first image, while the second is being chosen. */
    this.first = undefined;
    this.dialog = byId("comparison", HTMLDialogElement);
    this.bar = byId("comparison-bar");
    this.slider = byId("comparison-slider", HTMLInputElement);
    this.slider.addEventListener("input", () => this.#showPart());
    byId("close-comparison").addEventListener("click", () => this.dialog.close());
    byId("cancel-comparison").addEventListener("click", () => this.#end());
    this.dialog.addEventListener("close", () => byId("comparison-images").replaceChildren());
    addEventListener("keydown", (event) => event.key === "Escape" && !document.querySelector("dialog[open]") && this.#end());
  }

  /**
   * Let the user choose the second image.
   * @param {GalleryItem} item
   */
  start(item) {
    this.first = item;
    this.bar.hidden = false;
    byId("cancel-comparison").focus();
  }

  /**
   * Compare with this image, if a second one is being chosen. Returns whether it is.
   * @param {GalleryItem} second
   */
  pick(second) {
    const { first } = this;
    if (!first || !second.output.type.startsWith("image/")) return false;
    this.#end();
    const images = [first, second].map(({ output, job, modelName }) =>
      el("img", { src: output.url, alt: job.params.prompt || modelName }),
    );
    byId("comparison-images").replaceChildren(...images);
    this.slider.value = "50";
    this.#showPart();
    this.dialog.showModal();
    this.slider.focus();
    return true;
  }

  #end() {
    this.first = undefined;
    this.bar.hidden = true;
  }

  #showPart() {
    const [first] = byId("comparison-images").children;
    if (first instanceof HTMLElement) first.style.clipPath = `inset(0 ${100 - this.slider.valueAsNumber}% 0 0)`;
    byId("comparison-line").style.left = `${this.slider.value}%`;
  }
}
