// Sections of a page that are filled with data from the service.

import { ApiError } from "./api.js";
import { button, el } from "./dom.js";

/**
 * Run `load` for a section: mark it as busy meanwhile, and show an ApiError with a button to try again.
 * @param {HTMLElement} section
 * @param {() => Promise<unknown>} load
 */
export async function loadSection(section, load) {
  section.querySelector(".load-error")?.remove();
  section.setAttribute("aria-busy", "true");
  try {
    await load();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const retry = button("Try again", () => loadSection(section, load));
    const message = el("p", { className: "error", role: "alert", textContent: error.message });
    section.append(el("div", { className: "row load-error" }, message, retry));
  } finally {
    section.removeAttribute("aria-busy");
    section.querySelector(".loading")?.remove();
  }
}
