// A field for LoRAs: names that the account has trained or the operator offers, each with a strength.

/** @import { Control, LoraListParameter, LoraValue } from "../types.d.ts" */

import { api } from "../shared/api.js";
import { button, el } from "../shared/dom.js";
import { select } from "../shared/forms.js";
import { parameterLabel } from "../shared/format.js";

/** @typedef {{ id: string, name: string, shared: boolean, trigger_word: string | null, models: string[] | null }} Lora */

/** @type {Promise<Lora[]> | undefined} Loaded once per page, and again after a training. */
let offered;
/** @type {Map<string, string>} Names of the account's own LoRAs, by the job that trained them. */
const names = new Map();

/**
 * Return the name of a LoRA of a request; requests name those of the account by their job.
 * @param {LoraValue} value
 */
export const loraName = ({ name, job_id: job }) => name ?? names.get(job ?? "") ?? job ?? "";

/** Load the list of LoRAs anew the next time that it is needed. */
export const forgetLoras = () => (offered = undefined);

/** @returns {Promise<Lora[]>} */
async function loadLoras() {
  /** @type {Lora[]} */
  const loras = [];
  let cursor = "";
  do {
    const page = await api("GET", `loras?limit=100${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
    loras.push(...page.loras);
    cursor = page.next_cursor;
  } while (cursor);
  for (const lora of loras) if (!lora.shared) names.set(lora.id, lora.name);
  return loras;
}

/**
 * @param {string} name
 * @param {LoraListParameter} spec
 * @param {string} model
 * @param {() => void} onChange
 * @returns {Control}
 */
export function loraControl(name, spec, model, onChange) {
  const rows = el("ul", { className: "lora-rows" });
  const choice = select([["", "Add a LoRA…"]]);
  choice.id = `field-${name}`;
  const hint = el("p", { className: "hint", textContent: spec.description });
  const title = el("label", { htmlFor: choice.id, textContent: parameterLabel(name) });
  const node = el("div", { className: "field" }, title, rows, choice, hint);
  /** @type {LoraValue[]} */
  let values = [];

  /** @param {LoraValue[]} next */
  const show = (next) => {
    values = next.slice(0, spec.max_items);
    rows.replaceChildren(...values.map(row));
    choice.disabled = values.length >= spec.max_items;
  };

  /** @param {LoraValue} value */
  const row = (value) => {
    const strength = el("input", {
      type: "number",
      min: String(spec.min_strength),
      max: String(spec.max_strength),
      step: "0.05",
      value: String(value.strength),
      ariaLabel: `Strength of ${loraName(value)}`,
    });
    strength.addEventListener("input", () => (value.strength = strength.valueAsNumber));
    const remove = button("Remove", () => change(values.filter((other) => other !== value)), "quiet");
    remove.ariaLabel = `Remove ${loraName(value)}`;
    return el("li", {}, el("span", { textContent: loraName(value) }), strength, remove);
  };

  /** @param {LoraValue[]} next */
  const change = (next) => {
    show(next);
    onChange();
  };

  choice.addEventListener("change", () => {
    const [kind, id] = choice.value.split(/:(.*)/s);
    if (id) change([...values, { [kind]: id, strength: 1 }]);
    choice.value = "";
  });
  offered ??= loadLoras();
  offered.then((loras) => {
    const fitting = loras.filter((lora) => lora.models === null || lora.models.includes(model));
    choice.append(...fitting.map((lora) => el("option", { value: loraKey(lora), textContent: loraText(lora) })));
    show(values);
    if (!fitting.length) hint.textContent = "No LoRA fits this model yet. Train one in the mode Training.";
  }, () => {
    forgetLoras();
    hint.textContent = "The LoRAs cannot be loaded now.";
  });
  return {
    node,
    input: choice,
    get: () => (values.length ? values.map((value) => ({ ...value })) : undefined),
    set: (next) => show((Array.isArray(next) ? next : []).map(toValue)),
  };
}

/** @param {Lora} lora */
const loraKey = ({ id, name, shared }) => (shared ? `name:${name}` : `job_id:${id}`);

/** @param {Lora} lora */
const loraText = ({ name, shared, trigger_word: word }) =>
  `${name}${shared ? " (shared)" : ""}${word ? `, trigger word “${word}”` : ""}`;

/**
 * @param {any} item
 * @returns {LoraValue}
 */
function toValue(item) {
  const strength = Number(item.strength ?? 1);
  return item.job_id ? { job_id: String(item.job_id), strength } : { name: String(item.name ?? item), strength };
}
