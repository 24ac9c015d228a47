// Parts of a page that are filled from the server.

import { Refused } from "./api.js";
import { button, el } from "./dom.js";

// Says that it waits, and what went wrong, with a way to try again.
export async function fill(section, load) {
  section.querySelector(".trouble")?.remove();
  section.setAttribute("aria-busy", "true");
  try {
    await load();
  } catch (refused) {
    if (!(refused instanceof Refused)) throw refused;
    const again = button("Try again", () => fill(section, load));
    const said = el("p", { className: "refusal", role: "alert", textContent: refused.message });
    section.append(el("div", { className: "row trouble" }, said, again));
  } finally {
    section.removeAttribute("aria-busy");
    section.querySelector(".loading")?.remove();
  }
}
