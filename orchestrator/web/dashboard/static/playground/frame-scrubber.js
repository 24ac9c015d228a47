// Steps through the frames of a video.

/** @import { Output } from "../types.d.ts" */

import { button, el } from "../shared/dom.js";

export class FrameScrubber {
  /** @param {HTMLElement} container */
  constructor(container) {
    this.container = container;
    /** @type {HTMLVideoElement | undefined} */
    this.video = undefined;
    this.fps = 1;
    this.slider = el("input", { type: "range", min: "0", step: "1", id: "frame", ariaLabel: "Frame" });
    this.text = el("output");
    this.slider.addEventListener("input", () => this.#seek(this.slider.valueAsNumber));
    const back = button("‹", () => this.#step(-1), "quiet");
    const on = button("›", () => this.#step(1), "quiet");
    back.ariaLabel = "Previous frame";
    on.ariaLabel = "Next frame";
    container.replaceChildren(back, this.slider, on, this.text);
  }

  /**
   * Scrub this video; without one, hide the controls.
   * @param {HTMLVideoElement | undefined} video
   * @param {Output} [output]
   */
  attach(video, output) {
    this.video = video;
    const frames = output?.frames ?? 0;
    this.container.hidden = !video || frames < 2;
    if (!video || !output) return;
    this.fps = output.fps ?? 1;
    this.slider.max = String(frames - 1);
    this.#show(0);
    video.addEventListener("timeupdate", () => this.#show(Math.floor(video.currentTime * this.fps + 1e-3)));
  }

  /** @param {number} step */
  #step(step) {
    this.#seek(Math.min(Math.max(this.slider.valueAsNumber + step, 0), Number(this.slider.max)));
  }

  /** @param {number} frame */
  #seek(frame) {
    if (!this.video) return;
    this.video.pause();
    // The middle of a frame: its begin may be rounded to the one before.
    this.video.currentTime = (frame + 0.5) / this.fps;
    this.#show(frame);
  }

  /** @param {number} frame */
  #show(frame) {
    this.slider.value = String(frame);
    this.text.textContent = `${this.slider.valueAsNumber + 1} / ${Number(this.slider.max) + 1}`;
  }
}
