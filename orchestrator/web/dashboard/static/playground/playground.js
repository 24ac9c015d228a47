// The playground page: a form for the chosen model, its price, and the gallery.

/** @import { GalleryItem, Job, Model, ModelKind } from "../types.d.ts" */

import { refreshAccount } from "../shared/account-header.js";
import { api, ApiError } from "../shared/api.js";
import { byId, el } from "../shared/dom.js";
import { handleSubmit } from "../shared/forms.js";
import { dollars } from "../shared/format.js";
import { Gallery } from "./gallery.js";
import { ModelForm } from "./model-form.js";
import { PriceEstimate } from "./price-estimate.js";

/** Kinds of models by mode.
 * @type {Record<string, ModelKind[]>} */
const MODES = { image: ["image", "upscale", "audio", "3d", "text"], video: ["video", "i2v"], training: ["trainer"] };
const KIND_LABELS = {
  image: "Images",
  upscale: "Upscaling",
  audio: "Audio",
  "3d": "3D",
  text: "Text",
  video: "Text to video",
  i2v: "Image to video",
  trainer: "LoRA training",
};

const form = byId("generation-form", HTMLFormElement);
const modelSelect = byId("model", HTMLSelectElement);
const modeInputs = [.../** @type {NodeListOf<HTMLInputElement>} */ (form.querySelectorAll("[name=mode]"))];
const priceEstimate = new PriceEstimate();
/** @type {Model[]} */
let models = [];
/** @type {ModelForm} */
let modelForm;
/** @type {Gallery} */
let gallery;

const currentMode = () => modeInputs.find((input) => input.checked)?.value ?? "image";

/** @param {Model} model */
const modelOption = (model) => el("option", { value: model.id, textContent: `${model.name} · ${dollars(model.price_usd)}` });

/** Offer the models of the current mode, grouped by kind. */
function listModels() {
  const groups = MODES[currentMode()].map((kind) => {
    const options = models.filter((model) => model.kind === kind).map(modelOption);
    return el("optgroup", { label: KIND_LABELS[kind] }, ...options);
  });
  modelSelect.replaceChildren(...groups.filter((group) => group.children.length));
}

/**
 * Show the form of a model, and its mode.
 * @param {string} id
 */
function chooseModel(id) {
  const model = models.find((candidate) => candidate.id === id);
  if (!model) return;
  const mode = Object.keys(MODES).find((name) => MODES[name].includes(model.kind));
  if (currentMode() !== mode || !modelSelect.options.length) {
    for (const input of modeInputs) input.checked = input.value === mode;
    listModels();
  }
  modelSelect.value = id;
  const license = model.license_use === "commercial" ? model.license : `${model.license} (${model.license_use})`;
  byId("model-description").textContent = `${model.description} License: ${license}.`;
  clearError();
  const previous = modelForm;
  modelForm = new ModelForm(model, onFormChange);
  if (previous) modelForm.takeOver(previous);
  byId("main-fields").replaceChildren(...modelForm.mainFields);
  byId("advanced-fields").replaceChildren(...modelForm.advancedFields);
  byId("advanced-settings").hidden = !modelForm.advancedFields.length;
  onFormChange();
}

/** Clear the error, which may be resolved, and quote the price anew. */
function onFormChange() {
  clearError();
  priceEstimate.update(modelForm);
}

async function submitJob() {
  const params = await modelForm.params((source) => source.toDataUrl());
  gallery.add(await api("POST", "jobs", { body: { model: modelForm.model.id, params } }));
  await refreshAccount();
}

const clearError = handleSubmit(form, submitJob, (param) => modelForm.findInput(param));

/** @param {Job} job */
function reuseSettings(job) {
  if (!models.some((model) => model.id === job.model)) return;
  chooseModel(job.model);
  modelForm.fill(job.params);
  onFormChange();
  form.scrollIntoView();
}

/**
 * @param {GalleryItem} item
 * @param {ModelKind} kind
 */
async function useAsInput(item, kind) {
  const model = models.find((candidate) => candidate.kind === kind);
  if (!model) return;
  const blob = await (await fetch(item.downloadUrl)).blob();
  chooseModel(model.id);
  const file = new File([blob], `${item.job.model}.png`, { type: blob.type });
  await modelForm.imageControls[0].images?.addFiles([file]);
  form.scrollIntoView();
}

function listenToForm() {
  form.addEventListener("input", ({ target }) => {
    const choosesModel = target instanceof HTMLInputElement && target.name === "mode";
    if (target !== modelSelect && !choosesModel) onFormChange();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  modelSelect.addEventListener("change", () => chooseModel(modelSelect.value));
  for (const input of modeInputs) {
    input.addEventListener("change", () => {
      listModels();
      chooseModel(modelSelect.value);
    });
  }
  // The browser opens a file that is dropped beside the drop zone, unless it is prevented.
  for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
}

async function start() {
  listenToForm();
  const account = await refreshAccount();
  byId("simulated").hidden = !account.simulated;
  const offer = await api("GET", "models");
  models = offer.models;
  for (const input of modeInputs) {
    const hasModels = models.some((model) => MODES[input.value].includes(model.kind));
    if (input.parentElement) input.parentElement.hidden = !hasModels;
  }
  chooseModel((models.find((model) => model.id === offer.default) ?? models[0]).id);
  const modelNames = new Map(models.map((model) => [model.id, model.name]));
  gallery = new Gallery(modelNames, { onJobFinished: refreshAccount, reuseSettings, useAsInput });
  await gallery.load();
}

start().catch((error) => {
  // For example, a key without the scope `generate` or `read`. The other pages may still work.
  if (!(error instanceof ApiError)) throw error;
  const message = form.querySelector("[data-form-error]");
  if (message) message.textContent = error.message;
});
