// The playground page: a form for the chosen model, its price, and the gallery.

/** @import { GalleryItem, InputUse, Job, Model, ModelKind, Params } from "../types.d.ts" */

import { refreshAccount } from "../shared/account-header.js";
import { api, ApiError, hasSignedOut } from "../shared/api.js";
import { byId, el } from "../shared/dom.js";
import { handleSubmit } from "../shared/forms.js";
import { priceLabel } from "../shared/format.js";
import { loadModule } from "../shared/load-module.js";
import { Comparison } from "./comparison.js";
import { Gallery } from "./gallery.js";
import { fetchImage } from "./image-file.js";
import { forgetLoras } from "./lora-control.js";
import { ModelBrowser } from "./model-browser.js";
import { ModelForm } from "./model-form.js";
import { PriceEstimate } from "./price-estimate.js";
import { SettingsMemory } from "./settings-memory.js";

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
const SAVE_DELAY_MS = 300;
/** Pixels between the form and the edges of the window. */
const FORM_MARGIN = 16;

const form = byId("generation-form", HTMLFormElement);
const generateButton = byId("generate", HTMLButtonElement);
const GENERATE_LABEL = generateButton.textContent;
const modelSelect = byId("model", HTMLSelectElement);
const modeInputs = [.../** @type {NodeListOf<HTMLInputElement>} */ (form.querySelectorAll("[name=mode]"))];
const priceEstimate = new PriceEstimate();
const comparison = new Comparison();
/** @type {Model[]} */
let models = [];
/** @type {string[]} The models that were chosen last, newest first, here and at earlier visits. */
let recent = [];
/** @type {ModelForm} */
let modelForm;
/** @type {Gallery} */
let gallery;
/** @type {SettingsMemory} */
let memory;
let saveTimer = 0;
/** @type {import("./code-dialog.js").CodeDialog | undefined} */
let codeDialog;
/** How many jobs' input files are being loaded into the form. */
let loads = 0;

const currentMode = () => modeInputs.find((input) => input.checked)?.value ?? "image";

/** @param {Model} model */
const modelOption = (model) => el("option", { value: model.id, textContent: `${model.name} · ${priceLabel(model)}` });

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
 * @param {{ isNew?: boolean }} [options] With `isNew`, the form has defaults only, and nothing of the form before it.
 */
function chooseModel(id, { isNew = false } = {}) {
  const model = models.find((candidate) => candidate.id === id);
  if (!model) return;
  const mode = Object.keys(MODES).find((name) => MODES[name].includes(model.kind));
  if (currentMode() !== mode || !modelSelect.options.length) {
    for (const input of modeInputs) input.checked = input.value === mode;
    listModels();
  }
  modelSelect.value = id;
  recent = [id, ...recent.filter((other) => other !== id)];
  const license = model.license_use === "commercial" ? model.license : `${model.license} (${model.license_use})`;
  byId("model-description").textContent = `${model.description} License: ${license}.`;
  clearError();
  const previous = modelForm;
  modelForm = new ModelForm(model, onFormChange);
  if (!isNew) {
    modelForm.fill(memory.paramsOf(id) ?? {});
    if (previous) modelForm.takeOver(previous);
  }
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

/** Remember the settings soon, once for several changes in a row. */
function saveSoon() {
  clearTimeout(saveTimer);
  saveTimer = setTimeout(saveSettings, SAVE_DELAY_MS);
}

function saveSettings() {
  if (!saveTimer) return;
  clearTimeout(saveTimer);
  saveTimer = 0;
  // A change just before signing out is not to be written when the page is left.
  if (hasSignedOut()) return;
  memory.save(modelForm.model.id, modelForm.settings);
}

async function submitJob() {
  if (loads) throw new ApiError({ message: "The input files are still being loaded. Wait a moment." });
  const params = await modelForm.params((source) => source.toDataUrl());
  gallery.add(await api("POST", "jobs", { body: { model: modelForm.model.id, params } }));
  await refreshAccount();
}

const clearError = handleSubmit(form, submitJob, (param) => modelForm.findInput(param));

/** @param {string} message */
function showProblem(message) {
  const error = form.querySelector("[data-form-error]");
  if (error) error.textContent = message;
}

/**
 * Fill the form with the settings of a job, and load its input files into it. Returns whether the form is complete;
 * otherwise it says what is missing.
 * @param {Job} job
 * @param {string | null} [seed] The seed of one of its results; by default that of the first.
 */
async function fillForm(job, seed) {
  if (!models.some((model) => model.id === job.model)) {
    showProblem(`The model ${job.model} is no longer offered.`);
    return false;
  }
  chooseModel(job.model, { isNew: true });
  const filled = modelForm;
  const single = seed === undefined ? {} : { n: 1, seed };
  filled.fill({ ...job.params, ...single });
  form.scrollIntoView();
  const problems = await whileLoading(() => filled.loadInputs(job.inputs));
  // The user may have chosen another model meanwhile.
  if (modelForm !== filled) return false;
  onFormChange();
  saveSoon();
  showProblem(problems.join(" "));
  return problems.length === 0;
}

/**
 * Say on the button that files are being loaded. Until then, the form cannot be sent.
 * @template T
 * @param {() => Promise<T>} load
 */
async function whileLoading(load) {
  loads += 1;
  generateButton.textContent = "Loading the input files…";
  try {
    return await load();
  } finally {
    loads -= 1;
    if (!loads) generateButton.textContent = GENERATE_LABEL;
  }
}

/** @param {GalleryItem} item */
async function reuseSettings({ job, output }) {
  await fillForm(job, output.seed ?? undefined);
}

/**
 * Submit a job again with all its settings.
 * @param {Job} job
 */
async function retry(job) {
  if (await fillForm(job)) form.requestSubmit();
}

/**
 * Return the first model that takes an image for this use: the one in use, if it does.
 * @param {InputUse} use
 */
function modelForInput(use) {
  const fits = (/** @type {Model} */ model) =>
    use === "edit" ? "image" in model.parameters && model.kind === "image" : model.kind === use;
  const masks = models.find((model) => fits(model) && "mask" in model.parameters);
  if (modelForm && fits(modelForm.model)) return modelForm.model;
  return (use === "edit" && masks) || models.find(fits);
}

/**
 * @param {GalleryItem} item
 * @param {InputUse} use
 */
async function useAsInput(item, use) {
  const model = modelForInput(use);
  if (!model) return;
  const file = await fetchImage(item.downloadUrl, `${item.job.model}.png`);
  chooseModel(model.id);
  await modelForm.imageControls[0].images?.addFiles([file]);
  form.scrollIntoView();
}

/**
 * Show a request as code.
 * @param {string} model
 * @param {Params} params
 * @param {string[]} files Names of the parameters that are files.
 */
async function showCode(model, params, files) {
  try {
    const { CodeDialog } = await loadModule(() => import("./code-dialog.js"));
    codeDialog ??= new CodeDialog();
    codeDialog.open(model, params, files);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    showProblem(error.message);
  }
}

const showFormCode = () => showCode(modelForm.model.id, modelForm.settings, modelForm.chosenFiles);

/** @param {Job} job */
function showJobCode(job) {
  const params = Object.fromEntries(Object.entries(job.params).filter(([, value]) => value !== null && value !== ""));
  // Code in JavaScript would round a large seed; the parameter takes text, too.
  if (Number.isSafeInteger(Number(params.seed))) params.seed = Number(params.seed);
  return showCode(job.model, params, Object.keys(job.inputs));
}

/**
 * Put pasted or dropped images into the first field that takes one.
 * @param {DataTransfer | null} transfer
 */
function takeImages(transfer) {
  const controls = modelForm?.imageControls ?? [];
  const target = controls.find(({ images }) => !images?.images.length) ?? controls[0];
  return target?.images?.drop(transfer) ?? false;
}

function listenToForm() {
  for (const name of ["input", "change", "click"]) form.addEventListener(name, saveSoon);
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
      const offered = [...modelSelect.options].map(({ value }) => value);
      chooseModel(recent.find((id) => offered.includes(id)) ?? modelSelect.value);
    });
  }
  byId("show-code").addEventListener("click", showFormCode);
  addEventListener("pagehide", saveSettings);
  addEventListener("paste", (event) => {
    if (takeImages(event.clipboardData)) event.preventDefault();
  });
  // The browser opens a file that is dropped beside the drop zone, unless it is prevented.
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    takeImages(event.dataTransfer);
  });
}

/** Beside the gallery, let the form end with the window: then Generate is always in view. */
function fitForm() {
  const isBeside = matchMedia("(min-width: 56rem)").matches;
  const top = Math.max(form.getBoundingClientRect().top, FORM_MARGIN);
  form.style.maxHeight = isBeside ? `${innerHeight - top - FORM_MARGIN}px` : "";
}

function keepFormInView() {
  for (const name of ["scroll", "resize"]) addEventListener(name, fitForm, { passive: true });
  // Banners come and go above the form.
  new ResizeObserver(fitForm).observe(document.body);
  fitForm();
}

/** Say whether the browser is offline, for as long as it is. */
function watchConnection() {
  const show = () => (byId("offline").hidden = navigator.onLine);
  for (const name of ["online", "offline"]) addEventListener(name, show);
  show();
}

/** Open the result that the address names, such as a link of the ledger. */
async function openLinkedJob() {
  const jobId = new URLSearchParams(location.search).get("job");
  if (!jobId) return;
  history.replaceState(null, "", location.pathname);
  try {
    await gallery.openJob(jobId);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    showProblem(`This job cannot be shown: ${error.message}`);
  }
}

/** Enable what would have no effect before the models are known. */
function enableControls() {
  for (const control of document.querySelectorAll("[data-needs-models]")) control.removeAttribute("disabled");
}

async function start() {
  watchConnection();
  keepFormInView();
  const [account, offer] = await Promise.all([refreshAccount(), api("GET", "models")]);
  byId("simulated").hidden = !account.simulated;
  memory = new SettingsMemory(`${account.name} ${account.key}`);
  models = offer.models;
  recent = [...memory.models, ...(offer.default ? [offer.default] : [])];
  for (const input of modeInputs) {
    const hasModels = models.some((model) => MODES[input.value].includes(model.kind));
    if (input.parentElement) input.parentElement.hidden = !hasModels;
  }
  const wanted = [memory.model, offer.default, models[0]?.id];
  chooseModel(wanted.find((id) => models.some((model) => model.id === id)));
  listenToForm();
  const modelNames = new Map(models.map((model) => [model.id, model.name]));
  gallery = new Gallery(modelNames, {
    onJobFinished: () => {
      forgetLoras();
      refreshAccount();
    },
    reuseSettings,
    retry,
    useAsInput,
    canUseAsInput: (use) => modelForInput(use) !== undefined,
    startComparison: (item) => comparison.start(item),
    pickForComparison: (item) => comparison.pick(item),
    showCode: showJobCode,
    showProblem,
  });
  new ModelBrowser(models, KIND_LABELS, chooseModel, (id) => gallery.findExample(id));
  enableControls();
  await gallery.reload();
  await openLinkedJob();
}

start().catch((error) => {
  // For example, a key without the scope `generate` or `read`. The other pages may still work.
  if (!(error instanceof ApiError)) throw error;
  showProblem(error.message);
});
