// What all pages for operators share: sign-out, errors, durations, figures, tables, and asking before acting.

import { ApiError, signOut } from "../shared/api.js";
import { button, byId, el } from "../shared/dom.js";

byId("sign-out").addEventListener("click", signOut);

/**
 * Wait for an action, and show its error at the top of the page. Returns whether it succeeded.
 * @param {Promise<unknown>} action
 */
export async function showErrors(action) {
  byId("page-error").textContent = "";
  try {
    await action;
    return true;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    byId("page-error").textContent = error.message;
    return false;
  }
}

/**
 * Repeat `load` while the page is visible, and at once when it becomes visible again.
 * @param {() => Promise<unknown>} load
 * @param {number} milliseconds
 */
export function keepCurrent(load, milliseconds) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const run = async () => {
    clearTimeout(timer);
    if (document.hidden) return;
    await showErrors(load());
    timer = setTimeout(run, milliseconds);
  };
  document.addEventListener("visibilitychange", run);
  run();
}

/**
 * Format seconds for people.
 * @param {number | null} seconds
 */
export function duration(seconds) {
  if (seconds === null) return "–";
  if (seconds < 10) return `${seconds.toFixed(seconds < 1 ? 2 : 1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** @param {number | null} share */
export const percent = (share) => (share === null ? "–" : `${Math.round(100 * share)} %`);

/**
 * Create the terms and values of a list of figures; a value is a text, or an element.
 * @param {[term: string, value: Node | string, className?: string][]} pairs
 */
export function figures(pairs) {
  return pairs.map(([term, value, className = ""]) =>
    el("div", {}, el("dt", { textContent: term }), el("dd", { className }, value)),
  );
}

/**
 * @typedef {object} Column
 * @property {string} title
 * @property {string} [kind] `number`, `wrap`, or `roomy` for a column that narrow windows leave out.
 */

/**
 * Create a table.
 * @param {string} caption
 * @param {Column[]} columns
 * @param {(Node | string)[][]} rows
 */
export function dataTable(caption, columns, rows) {
  const heads = columns.map(({ title, kind }) => el("th", { scope: "col", className: kind ?? "", textContent: title }));
  const body = rows.map(([first, ...cells]) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, first),
      ...cells.map((cell, index) => el("td", { className: columns[index + 1].kind ?? "" }, cell)),
    ),
  );
  return el(
    "table",
    {},
    el("caption", { textContent: caption }),
    el("thead", {}, el("tr", {}, ...heads)),
    el("tbody", {}, ...body),
  );
}

/** @param {string} id */
export const jobLink = (id, text = id) => el("a", { href: `/operations/job?id=${encodeURIComponent(id)}`, textContent: text });

/**
 * Ask in a dialog, and return whether the operator has confirmed.
 * @param {string} question
 * @param {string} verb Text of the button that confirms.
 * @returns {Promise<boolean>}
 */
export function ask(question, verb) {
  return new Promise((resolve) => {
    const dialog = el("dialog", { ariaLabel: question });
    const close = (/** @type {boolean} */ answer) => {
      dialog.close();
      dialog.remove();
      resolve(answer);
    };
    const yes = button(verb, () => close(true), "primary");
    const buttons = el("div", { className: "row" }, yes, button("Cancel", () => close(false)));
    dialog.append(el("div", { className: "dialog-body" }, el("p", { textContent: question }), buttons));
    dialog.addEventListener("cancel", () => close(false));
    document.body.append(dialog);
    dialog.showModal();
    yes.focus();
  });
}

/**
 * Fill a form from the query of the page, and return what it says without empty fields.
 * @param {HTMLFormElement} form
 */
export function readQuery(form) {
  for (const [name, value] of new URLSearchParams(location.search)) {
    const field = form.elements.namedItem(name);
    if (field instanceof HTMLInputElement || field instanceof HTMLSelectElement) field.value = value;
  }
  return formQuery(form);
}

/** @param {HTMLFormElement} form */
export function formQuery(form) {
  const fields = [...new FormData(form)].map(([name, value]) => [name, String(value).trim()]);
  return Object.fromEntries(fields.filter(([, value]) => value !== ""));
}
