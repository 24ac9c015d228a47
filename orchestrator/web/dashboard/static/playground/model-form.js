// The form fields of a model, created from the parameters in its manifest.

/** @import { Control, EncodeUpload, Model, Params } from "../types.d.ts" */

import { ApiError } from "../shared/api.js";
import { button, el } from "../shared/dom.js";
import { parameterLabel } from "../shared/format.js";
import { loadModule } from "../shared/load-module.js";
import { choiceControl, createControl, MAIN_PARAMETERS } from "./controls.js";
import { fetchInput } from "./input-files.js";

const FILE_TYPES = new Set(["audio", "dataset", "image", "images", "video"]);
/** Types of parameters whose field is always visible. */
const MAIN_TYPES = new Set([...FILE_TYPES, "loras"]);

/** @type {import("./mask-painter.js").MaskPainter | undefined} One for all models: its dialog is part of the page. */
let painter;

export class ModelForm {
  /**
   * @param {Model} model
   * @param {() => void} onChange Called for changes that are not `input` events.
   */
  constructor(model, onChange) {
    this.model = model;
    /** @type {Map<string, Control>} */
    this.controls = new Map();
    for (const [name, spec] of Object.entries(model.parameters)) {
      const control = createControl(name, spec, onChange, model.example[name], model.example_files[name], model.id);
      if (control) this.controls.set(name, control);
    }
    if (model.max_n > 1) {
      const counts = Array.from({ length: model.max_n }, (_, index) => index + 1);
      this.controls.set("n", choiceControl("n", "Images", counts, onChange));
    }
    this.aspectRatio = this.#createAspectRatio(onChange);
    this.#addMaskPainter();
    this.showDuration = this.#addDuration();
  }

  /** The fields that are always visible. Required images come first. */
  get mainFields() {
    const required = this.imageControls.filter((control) => control.required);
    const controls = [...required, ...this.#controlsWhere(true), this.aspectRatio, this.controls.get("n")];
    const nodes = [...new Set(controls)].flatMap((control) => (control ? [control.node] : []));
    const src = this.model.example_picture;
    if (src) nodes.push(el("img", { src, className: "example-picture", alt: `Example of ${this.model.name}` }));
    return nodes;
  }

  get advancedFields() {
    return this.#controlsWhere(false).map((control) => control.node);
  }

  /** @param {boolean} isMain */
  #controlsWhere(isMain) {
    const entries = Object.entries(this.model.parameters).filter(
      ([name, spec]) => !this.#isUnused(name) && isMain === (MAIN_PARAMETERS.has(name) || MAIN_TYPES.has(spec.type)),
    );
    return entries.flatMap(([name]) => this.controls.get(name) ?? []);
  }

  /**
   * Whether the model ignores a parameter: upscalers have a prompt only because every request has one.
   * @param {string} name
   */
  #isUnused(name) {
    return name === "prompt" && this.model.kind === "upscale";
  }

  get imageControls() {
    return [...this.controls.values()].filter((control) => control.images);
  }

  /** The names of the parameters for which files are chosen. */
  get chosenFiles() {
    return [...this.controls].flatMap(([name, control]) => {
      if (!control.encode) return [];
      const isChosen = control.images ? control.images.images.length : control.input.value;
      return isChosen ? [name] : [];
    });
  }

  /** The values of the form without files. */
  get settings() {
    /** @type {Params} */
    const settings = {};
    for (const [name, control] of this.controls) {
      const value = control.encode ? undefined : control.get?.();
      if (value !== undefined && value !== "") settings[name] = value;
    }
    return settings;
  }

  /** Whether a required image, video or sound is missing, so that no price can be quoted. */
  get isMissingFile() {
    return [...this.controls.values()].some(
      (control) => control.required && (control.images ? !control.images.images.length : control.isEmpty?.()),
    );
  }

  /**
   * Return the values of the form as parameters of a request.
   * @param {EncodeUpload} encode Returns the text of an uploaded file.
   */
  async params(encode) {
    /** @type {Params} */
    const params = {};
    for (const [name, control] of this.controls) {
      const value = control.encode ? await control.encode(encode) : control.get?.();
      if (value !== undefined) params[name] = this.#isUnused(name) ? "" : value;
    }
    return params;
  }

  /**
   * Return the input of a parameter that the service found to be wrong.
   * @param {string} param
   */
  findInput(param) {
    return this.controls.get(param === "size" ? "width" : param)?.input;
  }

  /**
   * Set the fields to the parameters of a job.
   * @param {Params} params
   */
  fill(params) {
    for (const [name, value] of Object.entries(params)) {
      if (value !== null) this.controls.get(name)?.set?.(value);
    }
    this.aspectRatio?.update();
    this.showDuration?.();
  }

  /**
   * Take over prompts and images from the form of the previous model. Numbers depend on the model and stay at
   * their defaults.
   * @param {ModelForm} previous
   */
  takeOver(previous) {
    for (const name of ["prompt", "negative_prompt"]) {
      this.controls.get(name)?.set?.(previous.controls.get(name)?.get?.() ?? "");
    }
    previous.imageControls.forEach(({ images: source }, index) => {
      const images = source?.images ?? [];
      source?.setImages([]);
      const target = this.imageControls[index]?.images;
      target?.setImages(images.slice(0, target.maxImages));
    });
  }

  /**
   * Create a choice of aspect ratios that sets width and height.
   * @param {() => void} onChange
   */
  #createAspectRatio(onChange) {
    const [width, height] = [this.controls.get("width"), this.controls.get("height")];
    const { sizes } = this.model;
    if (!width || !height || !Object.keys(sizes).length) return undefined;
    const choice = choiceControl("aspect-ratio", "Aspect ratio", Object.keys(sizes), () => {
      const size = sizes[choice.get()];
      width.set?.(size[0]);
      height.set?.(size[1]);
      update();
      onChange();
    });
    const sizeText = el("p", { className: "hint" });
    choice.node.append(sizeText);
    const update = () => {
      const [w, h] = [width.get?.(), height.get?.()];
      choice.set(Object.keys(sizes).find((name) => sizes[name][0] === w && sizes[name][1] === h));
      sizeText.textContent = w && h ? `${w} × ${h} pixels` : "";
    };
    width.node.addEventListener("input", update);
    height.node.addEventListener("input", update);
    update();
    return { ...choice, update };
  }

  /** Let the user paint the mask on the input image. */
  #addMaskPainter() {
    const [image, mask] = [this.controls.get("image")?.images, this.controls.get("mask")];
    if (!image || !mask?.images) return;
    const paint = button("Paint a mask", async () => {
      if (!image.images.length) {
        note.textContent = "Add the input image first.";
        return;
      }
      note.textContent = "";
      try {
        const { MaskPainter } = await loadModule(() => import("./mask-painter.js"));
        painter ??= new MaskPainter();
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        note.textContent = error.message;
        return;
      }
      const file = await painter.paint(image.images[0]);
      if (!file) return;
      this.controls.get("mask_channel")?.set?.("alpha");
      await mask.images?.addFiles([file]);
      paint.focus();
    });
    const note = el("span", { className: "hint", role: "status" });
    mask.node.append(el("div", { className: "row" }, paint, note));
  }

  /**
   * Load the input files of a job into their fields. Returns a sentence for each field that could not be filled.
   * @param {Record<string, string[]>} inputs Paths by parameter.
   */
  async loadInputs(inputs) {
    const problems = await Promise.all(Object.entries(inputs).map(([name, paths]) => this.#loadInput(name, paths)));
    return problems.filter((problem) => problem !== "");
  }

  /**
   * @param {string} name
   * @param {string[]} paths
   */
  async #loadInput(name, paths) {
    const label = parameterLabel(name);
    const control = this.controls.get(name);
    if (!control?.setFiles) return `${label}: the model no longer takes this file.`;
    try {
      await control.setFiles(await Promise.all(paths.map((path) => fetchInput(path, name))));
      return "";
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return `${label}: ${error.message}`;
    }
  }

  /** Show the duration of the video below the frame rate. */
  #addDuration() {
    const [frames, fps] = [this.controls.get("num_frames"), this.controls.get("fps")];
    if (!frames || !fps) return undefined;
    const text = el("p", { className: "hint" });
    const update = () => {
      text.textContent = `${(frames.get?.() / fps.get?.()).toFixed(1)} seconds`;
    };
    frames.node.addEventListener("input", update);
    fps.node.addEventListener("input", update);
    fps.node.append(text);
    update();
    return update;
  }
}
