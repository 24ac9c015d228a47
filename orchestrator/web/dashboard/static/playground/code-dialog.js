// A dialog that shows a request as code, to copy.

/** @import { Params } from "../types.d.ts" */

import { copyText } from "../shared/clipboard.js";
import { byId, el } from "../shared/dom.js";
import { LANGUAGES } from "./code-samples.js";

export class CodeDialog {
  constructor() {
    this.dialog = byId("code-dialog", HTMLDialogElement);
    this.code = byId("code");
    /** @type {import("./code-samples.js").Sample | undefined} */
    this.sample = undefined;
    const inputs = Object.keys(LANGUAGES).map((value) => el("input", { type: "radio", name: "language", value }));
    inputs[0].checked = true;
    const labels = inputs.map((input) => el("label", {}, input, el("span", { textContent: input.value })));
    byId("languages").append(...labels);
    byId("languages").addEventListener("change", () => this.#show());
    const copy = byId("copy-code", HTMLButtonElement);
    copy.addEventListener("click", () => copyText(this.code, copy));
    byId("close-code").addEventListener("click", () => this.dialog.close());
  }

  /**
   * @param {string} model
   * @param {Params} params
   * @param {string[]} files Names of the parameters that hold files.
   */
  open(model, params, files) {
    this.sample = { origin: location.origin, model, params, files };
    this.#show();
    this.dialog.showModal();
  }

  #show() {
    const chosen = /** @type {HTMLInputElement} */ (byId("languages").querySelector(":checked"));
    if (this.sample) this.code.textContent = LANGUAGES[chosen.value](this.sample);
  }
}
