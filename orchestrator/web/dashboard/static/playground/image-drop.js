// Pictures that a person gives: chosen, dropped or taken from the gallery.

import { el } from "./dom.js";

export class Picture {
  // Throws where the browser can not read the file as a picture.
  static async of(file) {
    const bitmap = await createImageBitmap(file);
    const picture = new Picture();
    Object.assign(picture, { file, width: bitmap.width, height: bitmap.height });
    bitmap.close();
    return picture;
  }

  data() {
    return dataUrl(this.file);
  }

  // A price depends on a picture's size, not on what it shows: a blank one spares sending megabytes
  // each time a slider moves.
  async blank() {
    if (!this.blankUrl) {
      const canvas = new OffscreenCanvas(this.width, this.height);
      canvas.getContext("2d");
      this.blankUrl = await dataUrl(await canvas.convertToBlob({ type: "image/png" }));
    }
    return this.blankUrl;
  }
}

export function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

// A place to drop up to `most` pictures on, or to choose them with.
export class DropZone {
  constructor(id, label, hint, most, changed) {
    this.pictures = [];
    this.most = most;
    this.changed = changed;
    this.input = el("input", { type: "file", id, accept: "image/*", multiple: most > 1 });
    this.input.addEventListener("change", () => this.take(this.input.files));
    this.thumbs = el("ul", { className: "thumbs" });
    this.problem = el("p", { className: "refusal", role: "alert" });
    const text = el("span", { textContent: most > 1 ? `Drop up to ${most} pictures` : "Drop a picture" });
    const zone = el("label", { className: "drop" }, this.input, text, el("u", { textContent: "or choose" }));
    for (const name of ["dragenter", "dragover"]) zone.addEventListener(name, (event) => this.#hover(event, true));
    zone.addEventListener("dragleave", (event) => this.#hover(event, false));
    zone.addEventListener("drop", (event) => {
      this.#hover(event, false);
      this.take(event.dataTransfer.files);
    });
    const title = el("p", { className: "label", textContent: label, id: `${id}-label` });
    this.input.setAttribute("aria-labelledby", title.id);
    this.node = el("div", { className: "field" }, title, zone, this.thumbs, this.problem);
    this.node.append(el("p", { className: "hint", textContent: hint }));
  }

  #hover(event, over) {
    event.preventDefault();
    event.currentTarget.classList.toggle("over", over);
  }

  async take(files) {
    const read = await Promise.allSettled([...files].map((file) => Picture.of(file)));
    const pictures = read.filter((one) => one.value).map((one) => one.value);
    const unread = read.length - pictures.length;
    this.problem.textContent = unread ? "This is not a picture that the browser can read." : "";
    this.show([...(this.most > 1 ? this.pictures : []), ...pictures].slice(-this.most));
  }

  show(pictures) {
    this.pictures = pictures;
    this.input.value = "";
    for (const image of this.thumbs.querySelectorAll("img")) URL.revokeObjectURL(image.src);
    this.thumbs.replaceChildren(...pictures.map((picture) => this.#thumb(picture)));
    this.changed();
  }

  #thumb(picture) {
    const name = `${picture.file.name}, ${picture.width} × ${picture.height}`;
    const remove = el("button", { type: "button", className: "quiet", textContent: "Remove" });
    remove.setAttribute("aria-label", `Remove ${picture.file.name}`);
    remove.addEventListener("click", () => this.show(this.pictures.filter((other) => other !== picture)));
    const image = el("img", { src: URL.createObjectURL(picture.file), alt: "" });
    return el("li", {}, image, el("span", { textContent: name }), remove);
  }
}
