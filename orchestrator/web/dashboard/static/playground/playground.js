// The playground: a form for the chosen model, its price, and the gallery.

import { showAccount } from "./account.js";
import { api, Refused } from "./api.js";
import { byId, el } from "./dom.js";
import { Fields } from "./fields.js";
import { dollars } from "./format.js";
import { Gallery } from "./gallery.js";

const MODES = { image: ["image", "upscale", "3d"], video: ["video", "i2v"], training: ["trainer"] };
const GROUPS = {
  image: "Images",
  upscale: "Upscaling",
  "3d": "3D",
  video: "Text to video",
  i2v: "Image to video",
  trainer: "LoRA training",
};
const QUOTE_DELAY_MS = 200;

const form = byId("request");
const select = byId("model");
let models = [];
let fields = null;
let gallery = null;
let asking = new AbortController();
let timer = 0;

const mode = () => form.elements.mode.value;
const optionText = (model) => `${model.name} · ${dollars(model.price_usd)}`;

function showModels() {
  const groups = MODES[mode()].map((kind) => [kind, models.filter((model) => model.kind === kind)]);
  const filled = groups.filter(([, members]) => members.length);
  select.replaceChildren(
    ...filled.map(([kind, members]) => {
      const options = members.map((model) => el("option", { value: model.id, textContent: optionText(model) }));
      return el("optgroup", { label: GROUPS[kind] }, ...options);
    }),
  );
}

function choose(id) {
  const model = models.find((one) => one.id === id);
  const kind = Object.keys(MODES).find((name) => MODES[name].includes(model.kind));
  if (mode() !== kind || !select.options.length) {
    form.elements.mode.value = kind;
    showModels();
  }
  select.value = id;
  byId("about").textContent = model.description;
  const before = fields;
  fields = new Fields(model, changed);
  if (before) fields.keepFrom(before);
  byId("fields").replaceChildren(...fields.main);
  byId("advanced").replaceChildren(...fields.advanced);
  byId("advanced").parentElement.hidden = !fields.advanced.length;
  changed();
}

// Something was edited: what was refused may be right by now, and the price another.
function changed() {
  byId("refusal").textContent = "";
  form.querySelector("[aria-invalid]")?.removeAttribute("aria-invalid");
  clearTimeout(timer);
  timer = setTimeout(quote, QUOTE_DELAY_MS);
}

function showCost(cost, note) {
  byId("cost").textContent = cost;
  byId("cost-note").textContent = note;
}

async function quote() {
  asking.abort();
  if (fields.lacksPicture) return showCost("–", "Add a picture to see it.");
  const { signal } = (asking = new AbortController());
  try {
    const params = await fields.params((picture) => picture.blank());
    // Words cost nothing, and may still be missing.
    if ("prompt" in fields.model.parameters) params.prompt ||= "-";
    const price = await api("POST", "quote", { body: { model: fields.model.id, params }, signal });
    return showCost(dollars(price.cost_usd), price.minimum_applied ? "minimum charge" : "");
  } catch (refused) {
    return refused.name === "AbortError" ? undefined : showCost("–", refused.message);
  }
}

async function generate(event) {
  event.preventDefault();
  byId("refusal").textContent = "";
  byId("generate").disabled = true;
  try {
    const params = await fields.params((picture) => picture.data());
    gallery.add(await api("POST", "jobs", { body: { model: fields.model.id, params } }));
    await showAccount();
  } catch (refused) {
    refuse(refused);
  } finally {
    byId("generate").disabled = false;
  }
}

function refuse(refused) {
  byId("refusal").textContent = refused.message;
  const input = fields.controls.get(refused.param === "size" ? "width" : refused.param)?.input;
  if (!input) return;
  input.setAttribute("aria-invalid", "true");
  const hidden = input.closest("details");
  if (hidden) hidden.open = true;
  input.focus();
}

function reuse(job) {
  if (!models.some((model) => model.id === job.model)) return;
  choose(job.model);
  fields.fill(job.params);
  changed();
  form.scrollIntoView();
}

// A result becomes the input of the first model of another kind.
async function use(item, kind) {
  const model = models.find((one) => one.kind === kind);
  if (!model) return;
  const blob = await (await fetch(item.download)).blob();
  choose(model.id);
  await fields.pictures[0].zone.take([new File([blob], `${item.job.model}.png`, { type: blob.type })]);
  form.scrollIntoView();
}

async function start() {
  form.addEventListener("submit", generate);
  form.addEventListener("input", (event) => event.target !== select && event.target.name !== "mode" && changed());
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  select.addEventListener("change", () => choose(select.value));
  for (const radio of form.elements.mode) {
    radio.addEventListener("change", () => {
      showModels();
      choose(select.value);
    });
  }
  // A file that misses the drop zone must not replace the page.
  for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
  const account = await showAccount();
  byId("simulated").hidden = !account.simulated;
  const offer = await api("GET", "models");
  models = offer.models;
  for (const radio of form.elements.mode) {
    radio.parentElement.hidden = !models.some((model) => MODES[radio.value].includes(model.kind));
  }
  choose((models.find((model) => model.id === offer.default) ?? models[0]).id);
  const names = new Map(models.map((model) => [model.id, model.name]));
  gallery = new Gallery(names, { finished: showAccount, reuse, use });
  await gallery.load();
}

start().catch((refused) => {
  // A key that may not generate may still do what other pages are for.
  if (!(refused instanceof Refused)) throw refused;
  byId("refusal").textContent = refused.message;
});
