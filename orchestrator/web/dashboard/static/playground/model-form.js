// The form of a model, made from the parameters of its manifest.

import { datasetPicker } from "./datasets.js";
import { el } from "./dom.js";
import { label } from "./format.js";
import { DropZone } from "./pictures.js";

// Shown at once; everything else waits under "Advanced settings".
const PLAIN = new Set(["prompt", "negative_prompt", "num_frames", "fps"]);
const FILES = new Set(["dataset", "image", "images"]);
// What JavaScript's numbers hold exactly. Larger seeds are for the API.
const MAX_SEED = Number.MAX_SAFE_INTEGER;

// A control has a `node`, an `input` to put the cursor in, `get` (undefined: not given) and `set`.
const CONTROLS = {
  boolean: checkbox,
  dataset,
  image: drop,
  images: drop,
  integer: slider,
  number: slider,
  seed,
  string: text,
};

export class Fields {
  constructor(model, changed) {
    this.model = model;
    this.controls = new Map();
    for (const [name, spec] of Object.entries(model.parameters)) {
      if (CONTROLS[spec.type]) this.controls.set(name, CONTROLS[spec.type](name, spec, changed));
    }
    if (model.max_n > 1) this.controls.set("n", choice("n", "Images", upTo(model.max_n), changed));
    this.#addShapes(changed);
    this.#addLength();
  }

  // What everybody sees; pictures first, since a model that takes one starts from it.
  get main() {
    const needed = this.pictures.filter((control) => control.required);
    const all = new Set([...needed, ...this.#where(true), this.shapes, this.controls.get("n")].filter(Boolean));
    return [...all].map((control) => control.node);
  }

  get advanced() {
    return this.#where(false).map((control) => control.node);
  }

  // The controls of parameters that are plain, or not.
  #where(plain) {
    const entries = Object.entries(this.model.parameters).filter(([name]) => !this.#isIdle(name));
    const chosen = entries.filter(([name, spec]) => plain === (PLAIN.has(name) || FILES.has(spec.type)));
    return chosen.map(([name]) => this.controls.get(name)).filter(Boolean);
  }

  // An upscaler has a prompt only because every request must have one.
  #isIdle(name) {
    return name === "prompt" && this.model.kind === "upscale";
  }

  get pictures() {
    return [...this.controls.values()].filter((control) => control.zone);
  }

  // Whether a picture is missing without which there is no price either.
  get lacksPicture() {
    return this.pictures.some((control) => control.required && !control.zone.pictures.length);
  }

  // What the form says. `encode` makes text of a Picture.
  async params(encode) {
    const params = {};
    for (const [name, control] of this.controls) {
      const value = control.encoded ? await control.encoded(encode) : control.get();
      if (value !== undefined) params[name] = this.#isIdle(name) ? "" : value;
    }
    return params;
  }

  fill(params) {
    for (const [name, value] of Object.entries(params)) {
      const control = this.controls.get(name);
      if (control?.set && value !== null) control.set(value);
    }
    this.shapes?.follow();
    this.length?.();
  }

  // Words and pictures stay when another model is chosen; numbers are each model's own.
  keepFrom(others) {
    for (const name of ["prompt", "negative_prompt"]) {
      this.controls.get(name)?.set(others.controls.get(name)?.get() ?? "");
    }
    others.pictures.forEach((control, index) => {
      const mine = this.pictures[index];
      const { pictures } = control.zone;
      control.zone.show([]);
      mine?.zone.show(pictures.slice(0, mine.zone.most));
    });
  }

  // Presets of shapes fill in width and height.
  #addShapes(changed) {
    const [width, height] = [this.controls.get("width"), this.controls.get("height")];
    const sizes = this.model.sizes;
    if (!width || !height || !Object.keys(sizes).length) return;
    const shapes = choice("shape", "Aspect ratio", Object.keys(sizes), () => {
      [width, height].forEach((side, index) => side.set(sizes[shapes.get()][index]));
      shapes.follow();
      changed();
    });
    const size = el("p", { className: "hint" });
    shapes.node.append(size);
    shapes.follow = () => {
      const now = [width.get(), height.get()];
      shapes.set(Object.keys(sizes).find((name) => sizes[name].every((side, index) => side === now[index])));
      size.textContent = now.every(Boolean) ? `${now.join(" × ")} pixels` : "";
    };
    for (const side of [width, height]) side.node.addEventListener("input", shapes.follow);
    shapes.follow();
    this.shapes = shapes;
  }

  // How long the film will be.
  #addLength() {
    const [frames, fps] = [this.controls.get("num_frames"), this.controls.get("fps")];
    if (!frames || !fps) return;
    const length = el("p", { className: "hint" });
    const tell = () => (length.textContent = `${(frames.get() / fps.get()).toFixed(1)} seconds`);
    for (const control of [frames, fps]) control.node.addEventListener("input", tell);
    fps.node.append(length);
    this.length = tell;
    tell();
  }
}

const upTo = (last) => Array.from({ length: last }, (_, index) => index + 1);

// `box` is what holds the input, where it is not alone.
function field(name, input, description, box = input) {
  const title = el("label", { htmlFor: input.id, textContent: label(name) });
  const node = el("div", { className: "field" }, title, box);
  if (PLAIN.has(name)) return node;
  const hint = el("p", { className: "hint", textContent: description, id: `${input.id}-hint` });
  input.setAttribute("aria-describedby", hint.id);
  node.append(hint);
  return node;
}

function text(name, spec) {
  const input = spec.choices.length ? options(spec.choices) : lines(name, spec);
  input.id = `field-${name}`;
  input.value = spec.default ?? "";
  input.required = spec.required;
  const node = field(name, input, spec.description);
  return { node, input, get: () => input.value, set: (value) => (input.value = value) };
}

function options(values) {
  return el("select", {}, ...values.map((value) => el("option", { value, textContent: value })));
}

function lines(name, spec) {
  const props = { maxLength: spec.max_length, placeholder: spec.description };
  if (!name.endsWith("prompt")) return el("input", props);
  return el("textarea", { ...props, rows: name === "prompt" ? 4 : 2 });
}

// A slider, and a box beside it for those who know the number.
function slider(name, spec) {
  const id = `field-${name}`;
  // Between two positions of the grid there is nothing that the model could do.
  const step = spec.type === "integer" ? Math.max(spec.step, spec.grid) : spec.step ?? "any";
  const limits = { min: spec.minimum, max: spec.maximum, step };
  const input = el("input", { id, type: "number", ...limits, value: spec.default ?? "" });
  const range = el("input", { type: "range", ...limits, ariaLabel: `${label(name)}, slider` });
  const set = (value) => ([input.value, range.value] = [value, value]);
  set(spec.default ?? "");
  range.addEventListener("input", () => (input.value = range.value));
  input.addEventListener("input", () => (range.value = input.value));
  const node = field(name, input, spec.description, el("div", { className: "slider" }, range, input));
  return { node, input, get: () => number(input), set };
}

const number = (input) => (input.value === "" ? undefined : input.valueAsNumber);

function seed(name, spec) {
  const input = el("input", { id: `field-${name}`, type: "number", min: 0, max: MAX_SEED, placeholder: "random" });
  const set = (value) => (input.value = Number(value) <= MAX_SEED ? value : "");
  return { node: field(name, input, spec.description), input, get: () => number(input), set };
}

function checkbox(name, spec) {
  const input = el("input", { id: `field-${name}`, type: "checkbox", checked: spec.default });
  const node = field(name, input, spec.description);
  return { node, input, get: () => input.checked, set: (value) => (input.checked = value) };
}

// One of a few values, each with its own button.
function choice(name, title, values, changed) {
  const inputs = values.map((value) => el("input", { type: "radio", name: `field-${name}`, value }));
  const labels = inputs.map((input, index) => el("label", {}, input, el("span", { textContent: values[index] })));
  const node = el("fieldset", { className: "segments" }, el("legend", { textContent: title }), ...labels);
  inputs[0].checked = true;
  node.addEventListener("change", changed);
  return {
    node,
    input: inputs[0],
    get: () => values[inputs.findIndex((input) => input.checked)],
    set: (value) => inputs.forEach((input, index) => (input.checked = values[index] === value)),
  };
}

function dataset(name, spec) {
  const { input, encoded } = datasetPicker(`field-${name}`, spec.required);
  return { node: field(name, input, spec.description), input, encoded };
}

function drop(name, spec, changed) {
  const many = spec.type === "images";
  const zone = new DropZone(`field-${name}`, label(name), spec.description, many ? spec.max_items : 1, changed);
  const encoded = async (encode) => {
    if (!zone.pictures.length) return undefined;
    const texts = await Promise.all(zone.pictures.map(encode));
    return many ? texts : texts[0];
  };
  return { node: zone.node, input: zone.input, zone, encoded, required: spec.required };
}
