// The estimated cost below the form.

/** @import { ModelForm } from "./model-form.js" */

import { api } from "../shared/api.js";
import { byId } from "../shared/dom.js";
import { dollars } from "../shared/format.js";

const QUOTE_DELAY_MS = 200;

export class PriceEstimate {
  constructor() {
    this.pending = new AbortController();
    this.timer = 0;
  }

  /**
   * Quote the price soon, once for several changes in a row.
   * @param {ModelForm} modelForm
   */
  update(modelForm) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#quote(modelForm), QUOTE_DELAY_MS);
  }

  /** @param {ModelForm} modelForm */
  async #quote(modelForm) {
    this.pending.abort();
    const missing = modelForm.imageControls.length ? "an image" : "the file";
    if (modelForm.isMissingFile) return showCost("–", `Add ${missing} to see it.`);
    this.pending = new AbortController();
    const { signal } = this.pending;
    try {
      const params = await modelForm.params((source) => source.toPlaceholder());
      // The prompt does not change the price, so a missing one is no reason to show none.
      if ("prompt" in modelForm.model.parameters) params.prompt ||= "-";
      const quote = await api("POST", "quote", { body: { model: modelForm.model.id, params }, signal });
      return showCost(dollars(quote.cost_usd), quote.minimum_applied ? "minimum charge" : "");
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      return error.name === "AbortError" ? undefined : showCost("–", error.message);
    }
  }
}

/**
 * @param {string} cost
 * @param {string} note
 */
function showCost(cost, note) {
  byId("cost").textContent = cost;
  byId("cost-note").textContent = note;
}
