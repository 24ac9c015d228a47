// Forms that are sent to the service. Errors are shown at the field at fault.

import { ApiError } from "./api.js";
import { el } from "./dom.js";

/** @typedef {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} Input */

let fieldCount = 0;

/**
 * Create a labelled field around an input. An input without an id gets one.
 * @param {string} title
 * @param {Input} input
 * @param {object} [options]
 * @param {string} [options.hint] Text below the input.
 * @param {HTMLElement} [options.container] The element that holds the input, if it is not alone.
 */
export function field(title, input, { hint, container = input } = {}) {
  input.id ||= `field-${++fieldCount}`;
  const node = el("div", { className: "field" }, el("label", { htmlFor: input.id, textContent: title }), container);
  if (!hint) return node;
  const text = el("p", { className: "hint", id: `${input.id}-hint`, textContent: hint });
  input.setAttribute("aria-describedby", text.id);
  node.append(text);
  return node;
}

/**
 * Create a select element with these options.
 * @param {[value: string, text: string][]} options
 */
export function select(options) {
  return el("select", {}, ...options.map(([value, textContent]) => el("option", { value, textContent })));
}

/** Create the element in which `handleSubmit` shows errors. */
export function formError() {
  const error = el("p", { className: "error", role: "alert" });
  error.dataset.formError = "";
  return error;
}

/**
 * Return the trimmed text of an input, or undefined if it is empty.
 * @param {Input} input
 */
export const textValue = (input) => input.value.trim() || undefined;

/**
 * Return the amount of dollars in an input without its dollar sign, or undefined if it is empty.
 * @param {Input} input
 */
export const dollarValue = (input) => textValue(input)?.replace(/^\$\s*/, "");

/**
 * Call `send` when the form is submitted, and show the ApiError that it throws. The form needs a submit button
 * and an element with the attribute `data-form-error`.
 * @param {HTMLFormElement} form
 * @param {() => Promise<unknown>} send
 * @param {(param: string) => Input | null | undefined} [findInput] Return the input of a parameter; by default
 *   the one with its name.
 * @returns {() => void} Clears the error.
 */
export function handleSubmit(form, send, findInput = (param) => form.querySelector(`[name="${param}"]`)) {
  const error = /** @type {HTMLElement} */ (form.querySelector("[data-form-error]"));
  const home = /** @type {HTMLElement} */ (error.parentElement);
  const submit = /** @type {HTMLButtonElement} */ (form.querySelector("[type=submit]"));

  function clear() {
    error.textContent = "";
    form.querySelector("[aria-invalid]")?.removeAttribute("aria-invalid");
    if (error.parentElement !== home) home.prepend(error);
  }

  /** @param {ApiError} apiError */
  function show({ message, param }) {
    const input = param && findInput(param);
    error.textContent = message;
    if (!input) return;
    const details = input.closest("details");
    if (details) details.open = true;
    const container = input.closest(".field");
    if (container) {
      container.append(error);
      error.textContent = withLabel(message, container);
    }
    input.setAttribute("aria-invalid", "true");
    input.focus();
  }

  form.noValidate = true;
  form.addEventListener("input", clear);
  form.addEventListener("reset", clear);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (submit.disabled) return;
    clear();
    submit.disabled = true;
    try {
      await send();
    } catch (reason) {
      if (!(reason instanceof ApiError)) throw reason;
      show(reason);
    } finally {
      submit.disabled = false;
    }
  });
  return clear;
}

/**
 * Replace the parameter's name at the start of a message by the label of its field.
 * @param {string} message
 * @param {Element} container
 */
function withLabel(message, container) {
  const label = container.querySelector("label, .label, legend")?.textContent ?? "";
  return message.replace(/^`\w+`: /, "").replace(/^`\w+` /, `${label} `);
}
