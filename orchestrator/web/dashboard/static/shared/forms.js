// Forms that are sent to the server, whose refusals are shown at the field at fault.

import { Refused } from "./api.js";
import { el } from "./dom.js";

let made = 0;

// An input under its label.
export function field(title, input, hint) {
  input.id = `field-${++made}`;
  const node = el("div", { className: "field" }, el("label", { htmlFor: input.id, textContent: title }), input);
  if (!hint) return node;
  const text = el("p", { className: "hint", id: `${input.id}-hint`, textContent: hint });
  input.setAttribute("aria-describedby", text.id);
  node.append(text);
  return node;
}

// What somebody wrote; undefined: nothing.
export const written = (input) => input.value.trim() || undefined;

// Dollars as they are typed.
export const amount = (input) => written(input)?.replace(/^\$\s*/, "");

// `send()` once at a time. `form` has a place for refusals (`.refusal`) beside its submit button.
export function onSubmit(form, send) {
  const refusal = form.querySelector(".refusal");
  const home = refusal.parentElement;
  const submit = form.querySelector("[type=submit]");
  const clear = () => {
    refusal.textContent = "";
    form.querySelector("[aria-invalid]")?.removeAttribute("aria-invalid");
  };
  form.noValidate = true;
  form.addEventListener("input", clear);
  form.addEventListener("reset", clear);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    clear();
    submit.disabled = true;
    try {
      await send();
    } catch (refused) {
      if (!(refused instanceof Refused)) throw refused;
      refuse(refused);
    } finally {
      submit.disabled = false;
    }
  });

  function refuse({ message, param }) {
    const input = param && form.querySelector(`[name="${param}"]`);
    if (!input) {
      home.prepend(refusal);
      refusal.textContent = message;
      return;
    }
    const hidden = input.closest("details");
    if (hidden) hidden.open = true;
    input.closest(".field").append(refusal);
    refusal.textContent = withoutName(message);
    input.setAttribute("aria-invalid", "true");
    input.focus();
  }
}

// Where the message stands at its field, the field's name in the API says nothing more.
function withoutName(message) {
  const rest = message.replace(/^`\w+`:? /, "");
  return rest[0].toUpperCase() + rest.slice(1);
}
