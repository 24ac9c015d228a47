// The dialog that creates an API key.

/** @import { ApiKey, Model } from "../types.d.ts" */

import { api, ApiError } from "../shared/api.js";
import { byId, el } from "../shared/dom.js";
import { dollarValue, handleSubmit, textValue } from "../shared/forms.js";

const SCOPE_LABELS = {
  generate: "create jobs",
  read: "list jobs and keys",
  billing: "see and manage billing",
};

const form = byId("key-form", HTMLFormElement);
const dialog = byId("new-key", HTMLDialogElement);

/**
 * Return the values of the checked boxes with this name.
 * @param {string} name
 */
function checkedValues(name) {
  const boxes = /** @type {NodeListOf<HTMLInputElement>} */ (form.querySelectorAll(`[name=${name}]:checked`));
  return [...boxes].map((box) => box.value);
}

/**
 * Convert the local time of an input to ISO, or return undefined if it is empty.
 * @param {HTMLInputElement} input
 */
const isoTime = (input) => (input.value ? new Date(input.value).toISOString() : undefined);

/**
 * Create a key with the values of the form.
 * @returns {Promise<ApiKey>}
 */
async function createKey() {
  const name = textValue(byId("name", HTMLInputElement));
  if (!name) throw new ApiError({ message: "Enter a name", param: "name" });
  const scopes = checkedValues("scopes");
  if (!scopes.length) throw new ApiError({ message: "Choose at least one scope", param: "scopes" });
  const models = checkedValues("models");
  const body = {
    name,
    scopes,
    models: models.length ? models : undefined,
    daily_cap_usd: dollarValue(byId("daily-cap", HTMLInputElement)),
    monthly_cap_usd: dollarValue(byId("monthly-cap", HTMLInputElement)),
    expires_at: isoTime(byId("expires-at", HTMLInputElement)),
  };
  return api("POST", "keys", { body });
}

/**
 * @param {string} name
 * @param {string} value
 * @param {string} text
 * @param {boolean} isChecked
 */
function checkbox(name, value, text, isChecked) {
  const input = el("input", { type: "checkbox", name, value, defaultChecked: isChecked });
  return el("label", { className: "checkbox" }, input, el("span", { textContent: text }));
}

/** Fill the choices of scopes and models. */
export async function loadKeyForm() {
  const scopes = Object.entries(SCOPE_LABELS).map(([scope, text]) => checkbox("scopes", scope, `${scope}: ${text}`, true));
  byId("scopes").replaceChildren(...scopes);
  /** @type {{ models: Model[] }} */
  const { models } = await api("GET", "models");
  byId("models").replaceChildren(...models.map((model) => checkbox("models", model.id, model.name, false)));
}

/**
 * Make the dialog create keys.
 * @param {(key: ApiKey) => void} onCreated
 */
export function setUpKeyForm(onCreated) {
  byId("add").addEventListener("click", () => dialog.showModal());
  byId("cancel").addEventListener("click", () => dialog.close());
  handleSubmit(form, async () => {
    const key = await createKey();
    dialog.close();
    form.reset();
    onCreated(key);
  });
}
