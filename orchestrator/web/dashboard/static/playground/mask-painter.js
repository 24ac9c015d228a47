// A dialog to paint the area of an image that a model replaces.

/** @import { ImageFile } from "./image-file.js" */

import { byId } from "../shared/dom.js";

const MAX_UNDO = 30;
/** Pixels of the image by which an arrow key moves the brush, as a share of its size. */
const KEY_STEP = 0.5;
/** @type {Record<string, [number, number]>} */
const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class MaskPainter {
  constructor() {
    this.dialog = byId("mask-painter", HTMLDialogElement);
    this.canvas = byId("mask-canvas", HTMLCanvasElement);
    this.image = byId("mask-image", HTMLImageElement);
    this.cursor = byId("mask-cursor");
    this.size = byId("brush-size", HTMLInputElement);
    this.context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d", { willReadFrequently: true }));
    /** @type {ImageData[]} What the canvas showed before each stroke. */
    this.history = [];
    /** @type {{ x: number, y: number } | undefined} The last point of the stroke that is being painted. */
    this.last = undefined;
    /** Place of the brush that the keyboard moves, in pixels of the image. */
    this.brush = { x: 0, y: 0 };
    /** @type {(mask: File | undefined) => void} */
    this.finish = () => {};
    this.#listen();
  }

  /**
   * Paint on an image, and return the mask, whose transparent pixels mark the painted area.
   * @param {ImageFile} image
   * @returns {Promise<File | undefined>} Undefined if nothing was painted, or the dialog was left.
   */
  async paint({ file, width, height }) {
    Object.assign(this.canvas, { width, height });
    this.history = [];
    this.brush = { x: width / 2, y: height / 2 };
    this.image.src = URL.createObjectURL(file);
    this.size.max = String(Math.ceil(Math.max(width, height) / 3));
    this.size.value = String(Math.ceil(Math.max(width, height) / 16));
    byId("undo-mask", HTMLButtonElement).disabled = true;
    this.cursor.hidden = true;
    this.dialog.showModal();
    this.canvas.focus();
    /** @type {Promise<File | undefined>} */
    const mask = new Promise((resolve) => (this.finish = resolve));
    return mask.finally(() => {
      URL.revokeObjectURL(this.image.src);
      this.dialog.close();
    });
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      event.preventDefault();
      canvas.focus();
      canvas.setPointerCapture(event.pointerId);
      this.#begin();
      this.#draw(this.#point(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      this.#showCursor(this.#point(event));
      // A fast movement has several points between two frames.
      const points = event.getCoalescedEvents?.() ?? [];
      if (this.last) for (const point of points.length ? points : [event]) this.#draw(this.#point(point));
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (this.last = undefined));
    canvas.addEventListener("pointerleave", () => (this.cursor.hidden = document.activeElement !== canvas));
    canvas.addEventListener("keydown", (event) => this.#onKey(event));
    canvas.addEventListener("focus", () => this.#showCursor(this.brush));
    this.size.addEventListener("input", () => this.#showCursor(this.brush));
    byId("undo-mask").addEventListener("click", () => this.#undo());
    byId("clear-mask").addEventListener("click", () => {
      this.#begin();
      this.last = undefined;
      this.context.clearRect(0, 0, canvas.width, canvas.height);
    });
    byId("invert-mask").addEventListener("click", () => this.#invert());
    byId("use-mask").addEventListener("click", async () => this.finish(await this.#toFile()));
    byId("cancel-mask").addEventListener("click", () => this.finish(undefined));
    this.dialog.addEventListener("cancel", () => this.finish(undefined));
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const direction = DIRECTIONS[event.key];
    if (direction) {
      const step = Math.max(1, this.size.valueAsNumber * KEY_STEP);
      this.brush.x = Math.min(Math.max(this.brush.x + direction[0] * step, 0), this.canvas.width);
      this.brush.y = Math.min(Math.max(this.brush.y + direction[1] * step, 0), this.canvas.height);
      if (event.shiftKey) this.#dot();
      this.#showCursor(this.brush);
    } else if (event.key === " " || event.key === "Enter") this.#dot();
    else if (event.key === "[" || event.key === "]") {
      this.size.valueAsNumber = Math.max(1, this.size.valueAsNumber * (event.key === "]" ? 1.25 : 0.8));
      this.#showCursor(this.brush);
    } else if (event.key === "z" && (event.ctrlKey || event.metaKey)) this.#undo();
    else return;
    event.preventDefault();
  }

  /** Paint one dot where the keyboard has moved the brush. */
  #dot() {
    this.#begin();
    this.#draw(this.brush);
    this.last = undefined;
  }

  /**
   * @param {PointerEvent} event
   */
  #point({ clientX, clientY }) {
    const box = this.canvas.getBoundingClientRect();
    return {
      x: ((clientX - box.left) / box.width) * this.canvas.width,
      y: ((clientY - box.top) / box.height) * this.canvas.height,
    };
  }

  /** Keep what the canvas shows, so that the next change can be undone. */
  #begin() {
    this.history.push(this.context.getImageData(0, 0, this.canvas.width, this.canvas.height));
    if (this.history.length > MAX_UNDO) this.history.shift();
    byId("undo-mask", HTMLButtonElement).disabled = false;
  }

  #undo() {
    const before = this.history.pop();
    if (before) this.context.putImageData(before, 0, 0);
    byId("undo-mask", HTMLButtonElement).disabled = !this.history.length;
  }

  /** @param {{ x: number, y: number }} point */
  #draw(point) {
    const { context } = this;
    const from = this.last ?? point;
    Object.assign(context, { lineWidth: this.size.valueAsNumber, lineCap: "round", strokeStyle: "#f0f" });
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.lineTo(point.x + 0.01, point.y);
    context.stroke();
    this.last = point;
    this.brush = { ...point };
  }

  #invert() {
    this.#begin();
    this.last = undefined;
    const { context, canvas } = this;
    context.globalCompositeOperation = "xor";
    context.fillStyle = "#f0f";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.globalCompositeOperation = "source-over";
  }

  /** @param {{ x: number, y: number }} point */
  #showCursor({ x, y }) {
    const { canvas, cursor } = this;
    cursor.hidden = false;
    const share = (/** @type {number} */ value, /** @type {number} */ whole) => `${(100 * value) / whole}%`;
    cursor.style.left = share(x, canvas.width);
    cursor.style.top = share(y, canvas.height);
    cursor.style.width = share(this.size.valueAsNumber, canvas.width);
  }

  /** Return the mask as a file; undefined if nothing is painted. */
  async #toFile() {
    const { width, height } = this.canvas;
    const painted = this.context.getImageData(0, 0, width, height);
    let isEmpty = true;
    for (let index = 3; index < painted.data.length; index += 4) {
      const isPainted = painted.data[index] > 127;
      if (isPainted) isEmpty = false;
      painted.data.set([0, 0, 0, isPainted ? 0 : 255], index - 3);
    }
    if (isEmpty) return undefined;
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext("2d")?.putImageData(painted, 0, 0);
    return new File([await canvas.convertToBlob({ type: "image/png" })], "painted-mask.png", { type: "image/png" });
  }
}
