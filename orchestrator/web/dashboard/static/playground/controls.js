// One control for each type of model parameter.

/** @import {
 *   AudioParameter, BooleanParameter, Control, DatasetParameter, EncodeUpload, ImageListParameter, ImageParameter,
 *   IntegerParameter, NumberParameter, Parameter, SeedParameter, TextParameter,
 *   VideoParameter
 * } from "../types.d.ts"
 */

import { ApiError } from "../shared/api.js";
import { button, el } from "../shared/dom.js";
import { field, select } from "../shared/forms.js";
import { parameterLabel } from "../shared/format.js";
import { datasetInput } from "./dataset-input.js";
import { ImageDropZone } from "./image-drop-zone.js";
import { loraControl } from "./lora-control.js";
import { mediaFileInput } from "./media-file-input.js";

/** Parameters that are shown above "Advanced settings". Their labels suffice, so they have no hint. */
export const MAIN_PARAMETERS = new Set(["prompt", "negative_prompt", "num_frames", "fps"]);
// The largest integer that JavaScript represents exactly. Larger seeds need the API.
const MAX_SEED = Number.MAX_SAFE_INTEGER;
/** Seeds that are drawn are short enough to read and to type. */
const MAX_DRAWN_SEED = 2 ** 32;

/**
 * Create the control of a parameter; undefined for types that only the API offers.
 * @param {string} name
 * @param {Parameter} spec
 * @param {() => void} onChange Called when images change. Other changes are `input` events.
 * @param {string} [example] The author's own value; of a file, its name.
 * @param {string} [exampleFile] Path of the author's own file.
 * @param {string} [model] Id of the model.
 * @returns {Control | undefined}
 */
export function createControl(name, spec, onChange, example, exampleFile, model = "") {
  switch (spec.type) {
    case "loras":
      return loraControl(name, spec, model, onChange);
    case "string":
      return textControl(name, spec, example);
    case "integer":
    case "number":
      return sliderControl(name, spec);
    case "boolean":
      return checkboxControl(name, spec);
    case "seed":
      return seedControl(name, spec);
    case "image":
    case "images":
      return imageControl(name, spec, onChange, exampleFile && { path: exampleFile, name: example ?? name });
    case "video":
    case "audio":
      return mediaControl(name, spec, onChange, exampleFile && { path: exampleFile, name: example ?? name });
    case "dataset":
      return datasetControl(name, spec);
    default:
      return undefined;
  }
}

/**
 * Create a control with a button for each of a few values.
 * @template {string | number} T
 * @param {string} name
 * @param {string} title
 * @param {T[]} values
 * @param {() => void} onChange
 */
export function choiceControl(name, title, values, onChange) {
  const inputs = values.map((value) => el("input", { type: "radio", name: `field-${name}`, value: String(value) }));
  const labels = inputs.map((input) => el("label", {}, input, el("span", { textContent: input.value })));
  const node = el("fieldset", { className: "segments" }, el("legend", { textContent: title }), ...labels);
  inputs[0].checked = true;
  node.addEventListener("change", onChange);
  return {
    node,
    input: inputs[0],
    get: () => values[inputs.findIndex((input) => input.checked)],
    /** @param {T | undefined} value */
    set: (value) => inputs.forEach((input, index) => (input.checked = values[index] === value)),
  };
}

/**
 * @param {string} name
 * @param {{ description: string }} spec
 * @param {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} input
 * @param {HTMLElement} [container]
 */
function parameterField(name, spec, input, container) {
  const hint = MAIN_PARAMETERS.has(name) ? undefined : spec.description;
  return field(parameterLabel(name), input, { hint, container });
}

/**
 * @param {string} name
 * @param {TextParameter} spec
 * @param {string} [example]
 * @returns {Control}
 */
function textControl(name, spec, example) {
  const input = spec.choices.length ? select(spec.choices.map((choice) => [choice, choice])) : textInput(name, spec);
  input.id = `field-${name}`;
  input.value = spec.default ?? "";
  input.required = spec.required;
  const node = parameterField(name, spec, input);
  if (example) node.append(exampleButton(name, input, example));
  return {
    node,
    input,
    get: () => input.value,
    set: (value) => (input.value = value),
  };
}

/**
 * Create a button that sets a field to the author's own value.
 * @param {string} name
 * @param {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} input
 * @param {string} example
 */
function exampleButton(name, input, example) {
  const label = `Use the example ${parameterLabel(name).toLowerCase()}`;
  const button = el("button", { type: "button", className: "link", textContent: label, title: example });
  button.addEventListener("click", () => {
    input.value = example;
    input.dispatchEvent(new Event("input", { bubbles: true }));
    input.focus();
  });
  return button;
}

/**
 * @param {string} name
 * @param {TextParameter} spec
 */
function textInput(name, spec) {
  const props = { maxLength: spec.max_length, placeholder: spec.description };
  if (!name.endsWith("prompt")) return el("input", props);
  return el("textarea", { ...props, rows: name === "prompt" ? 4 : 2 });
}

/**
 * Create a slider with a number input beside it.
 * @param {string} name
 * @param {IntegerParameter | NumberParameter} spec
 * @returns {Control}
 */
function sliderControl(name, spec) {
  // Values between two steps of the model's grid would be rounded, so the slider skips them.
  const step = spec.type === "integer" ? Math.max(spec.step, spec.grid) : (spec.step ?? "any");
  const limits = { min: String(spec.minimum), max: String(spec.maximum), step: String(step) };
  const input = el("input", { id: `field-${name}`, type: "number", ...limits });
  const slider = el("input", { type: "range", ...limits, ariaLabel: `${parameterLabel(name)}, slider` });
  /** @param {number | ""} value */
  const set = (value) => {
    input.value = slider.value = String(value);
  };
  set(spec.default ?? "");
  slider.addEventListener("input", () => (input.value = slider.value));
  input.addEventListener("input", () => (slider.value = input.value));
  const container = el("div", { className: "slider" }, slider, input);
  return { node: parameterField(name, spec, input, container), input, get: () => numberValue(input), set };
}

/** @param {HTMLInputElement} input */
const numberValue = (input) => (input.value === "" ? undefined : input.valueAsNumber);

/**
 * @param {string} name
 * @param {SeedParameter} spec
 * @returns {Control}
 */
function seedControl(name, spec) {
  const limits = { min: "0", max: String(MAX_SEED) };
  const input = el("input", { id: `field-${name}`, type: "number", ...limits, placeholder: "random" });
  const roll = button("🎲", () => setValue(Math.floor(Math.random() * MAX_DRAWN_SEED)), "dice");
  Object.assign(roll, { ariaLabel: "Draw a seed", title: "Draw a seed, to keep it for the next requests" });
  const clear = button("Random", () => setValue(""), "quiet");
  clear.title = "Draw a new seed for each request";
  /** @param {number | ""} value */
  const setValue = (value) => {
    input.value = String(value);
    input.dispatchEvent(new Event("input", { bubbles: true }));
  };
  return {
    node: parameterField(name, spec, input, el("div", { className: "seed" }, input, roll, clear)),
    input,
    get: () => numberValue(input),
    set: (value) => (input.value = Number(value) <= MAX_SEED ? value : ""),
  };
}

/**
 * @param {string} name
 * @param {BooleanParameter} spec
 * @returns {Control}
 */
function checkboxControl(name, spec) {
  const input = el("input", { id: `field-${name}`, type: "checkbox", checked: spec.default });
  return {
    node: parameterField(name, spec, input),
    input,
    get: () => input.checked,
    set: (value) => (input.checked = value),
  };
}

/**
 * @param {string} name
 * @param {DatasetParameter} spec
 * @returns {Control}
 */
function datasetControl(name, spec) {
  const { input, encode } = datasetInput(`field-${name}`, spec.required);
  const setFiles = async (/** @type {File[]} */ files) => chooseFiles(input, files);
  return { node: parameterField(name, spec, input), input, encode, setFiles };
}

/**
 * @param {string} name
 * @param {ImageParameter | ImageListParameter} spec
 * @param {() => void} onChange
 * @param {{ path: string, name: string } | "" | undefined} example
 * @returns {Control}
 */
function imageControl(name, spec, onChange, example) {
  const zone = new ImageDropZone({
    id: `field-${name}`,
    label: parameterLabel(name),
    hint: spec.description,
    maxImages: spec.type === "images" ? spec.max_items : 1,
    onChange,
  });
  if (example) zone.node.append(exampleFileButton(name, example, (file) => zone.addFiles([file])));
  /** @param {EncodeUpload} encode */
  const encode = async (encode) => {
    if (!zone.images.length) return undefined;
    const texts = await Promise.all(zone.images.map(encode));
    return spec.type === "images" ? texts : texts[0];
  };
  /** @param {File[]} files */
  const setFiles = async (files) => {
    zone.setImages([]);
    await zone.addFiles(files);
    if (zone.images.length < files.length) throw new ApiError({ message: "the browser cannot read this image." });
  };
  return { node: zone.node, input: zone.input, images: zone, encode, setFiles, required: spec.required };
}

/**
 * @param {string} name
 * @param {VideoParameter | AudioParameter} spec
 * @param {() => void} onChange
 * @param {{ path: string, name: string } | "" | undefined} example
 * @returns {Control}
 */
function mediaControl(name, spec, onChange, example) {
  const { input, encode } = mediaFileInput(`field-${name}`, spec.type, spec.required, onChange);
  const node = parameterField(name, spec, input);
  const setFiles = async (/** @type {File[]} */ files) => {
    chooseFiles(input, files);
    onChange();
  };
  if (example) node.append(exampleFileButton(name, example, (file) => setFiles([file])));
  return { node, input, encode, setFiles, isEmpty: () => !input.files?.length, required: spec.required };
}

/**
 * Choose files as if the user had.
 * @param {HTMLInputElement} input
 * @param {File[]} files
 */
function chooseFiles(input, files) {
  const transfer = new DataTransfer();
  for (const file of files) transfer.items.add(file);
  input.files = transfer.files;
}

/**
 * Create a button that takes the author's own file.
 * @param {string} name
 * @param {{ path: string, name: string }} example
 * @param {(file: File) => void} take
 */
function exampleFileButton(name, example, take) {
  const label = `Use the example ${parameterLabel(name).toLowerCase()}`;
  const button = el("button", { type: "button", className: "link", textContent: label, title: example.name });
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const response = await fetch(example.path);
      if (!response.ok) throw new Error(`status ${response.status}`);
      const blob = await response.blob();
      take(new File([blob], example.name.split("/").pop() ?? name, { type: blob.type }));
    } catch {
      button.textContent = `${label}: it cannot be loaded, try again`;
    }
    button.disabled = false;
  });
  return button;
}
