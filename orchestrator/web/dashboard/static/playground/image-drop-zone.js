// A field for input images, which can be dropped or chosen.

import { button, el } from "../shared/dom.js";
import { fetchImage, ImageFile } from "./image-file.js";

/** Type of dragged data: the path of an output of the gallery. */
const OUTPUT_TYPE = "application/x-pixelfactory-output";

/**
 * @typedef {object} DropZoneOptions
 * @property {string} id Id of the file input.
 * @property {string} label
 * @property {string} hint
 * @property {number} maxImages
 * @property {() => void} onChange
 */

export class ImageDropZone {
  /** @param {DropZoneOptions} options */
  constructor({ id, label, hint, maxImages, onChange }) {
    /** @type {ImageFile[]} */
    this.images = [];
    this.maxImages = maxImages;
    this.onChange = onChange;
    this.input = el("input", { type: "file", id, accept: "image/*", multiple: maxImages > 1 });
    this.input.addEventListener("change", () => this.addFiles(this.input.files ?? []));
    this.thumbnails = el("ul", { className: "thumbnails" });
    this.error = el("p", { className: "error", role: "alert" });
    const title = el("p", { className: "label", textContent: label, id: `${id}-label` });
    this.input.setAttribute("aria-labelledby", title.id);
    this.node = el("div", { className: "field" }, title, this.#createZone(), this.thumbnails, this.error);
    this.node.append(el("p", { className: "hint", textContent: hint }));
  }

  #createZone() {
    const text = this.maxImages > 1 ? `Drop or paste up to ${this.maxImages} images` : "Drop or paste an image";
    const zone = el(
      "label",
      { className: "drop-zone" },
      this.input,
      el("span", { textContent: text }),
      el("u", { textContent: "or choose a file" }),
    );
    /** @param {DragEvent} event */
    const onDrag = (event) => {
      event.preventDefault();
      zone.classList.toggle("drag-over", event.type === "dragenter" || event.type === "dragover");
    };
    zone.addEventListener("dragenter", onDrag);
    zone.addEventListener("dragover", onDrag);
    zone.addEventListener("dragleave", onDrag);
    zone.addEventListener("drop", (event) => {
      onDrag(event);
      event.stopPropagation();
      this.drop(event.dataTransfer);
    });
    return zone;
  }

  /**
   * Add what was dropped or pasted: files, or an output of the gallery. Returns whether there was any.
   * @param {DataTransfer | null} transfer
   */
  drop(transfer) {
    const files = [...(transfer?.files ?? [])].filter((file) => file.type.startsWith("image/"));
    const output = transfer?.getData(OUTPUT_TYPE);
    if (output) this.#addOutput(output);
    else if (files.length) this.addFiles(files);
    return Boolean(output || files.length);
  }

  /** @param {string} url */
  async #addOutput(url) {
    try {
      await this.addFiles([await fetchImage(url, url.split("/").pop() ?? "output")]);
    } catch {
      this.error.textContent = "This result cannot be loaded now. Try again.";
    }
  }

  /**
   * Add images; one image replaces another where the model takes only one.
   * @param {Iterable<File>} files
   */
  async addFiles(files) {
    const results = await Promise.allSettled([...files].map((file) => ImageFile.read(file)));
    const images = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
    const hasUnreadable = images.length < results.length;
    this.error.textContent = hasUnreadable
      ? "This file is not an image that the browser can read. Choose a PNG, JPEG or WebP file."
      : "";
    this.setImages([...(this.maxImages > 1 ? this.images : []), ...images].slice(-this.maxImages));
  }

  /** @param {ImageFile[]} images */
  setImages(images) {
    this.images = images;
    this.input.value = "";
    for (const thumbnail of this.thumbnails.querySelectorAll("img")) URL.revokeObjectURL(thumbnail.src);
    this.thumbnails.replaceChildren(...images.map((image) => this.#createThumbnail(image)));
    this.onChange();
  }

  /** @param {ImageFile} image */
  #createThumbnail(image) {
    const remove = button("Remove", () => this.setImages(this.images.filter((other) => other !== image)), "quiet");
    remove.ariaLabel = `Remove ${image.file.name}`;
    const thumbnail = el("img", { src: URL.createObjectURL(image.file), alt: "" });
    const text = `${image.file.name}, ${image.width} × ${image.height}`;
    return el("li", {}, thumbnail, el("span", { textContent: text }), remove);
  }
}
