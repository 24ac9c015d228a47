// A dialog to find a model by name, purpose or license, with an example picture of each.

/** @import { Model } from "../types.d.ts" */

import { byId, el } from "../shared/dom.js";
import { priceLabel } from "../shared/format.js";

export class ModelBrowser {
  /**
   * @param {Model[]} models
   * @param {Record<string, string>} kindLabels
   * @param {(id: string) => void} onChoose
   * @param {(id: string) => string | null | undefined} findExample Returns the path of a result of a model.
   */
  constructor(models, kindLabels, onChoose, findExample) {
    this.findExample = findExample;
    this.models = models;
    this.kindLabels = kindLabels;
    this.onChoose = onChoose;
    this.dialog = byId("model-browser", HTMLDialogElement);
    this.search = byId("model-search", HTMLInputElement);
    this.search.addEventListener("input", () => this.#show());
    byId("browse-models").addEventListener("click", () => this.open());
    byId("close-models").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
  }

  open() {
    this.search.value = "";
    this.#show();
    this.dialog.showModal();
    this.search.focus();
  }

  #show() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = this.models.filter((model) => {
      const text = [model.id, model.name, model.description, model.license, this.kindLabels[model.kind]].join(" ").toLowerCase();
      return words.every((word) => text.includes(word));
    });
    byId("model-results").replaceChildren(...found.map((model) => this.#card(model)));
    byId("model-count").textContent = found.length === 1 ? "1 model" : `${found.length} models`;
  }

  /** @param {Model} model */
  #card(model) {
    const src = model.example_picture || this.findExample(model.id);
    const picture = src
      ? el("img", { src, alt: "", loading: "lazy" })
      : el("span", { className: "model-initial", ariaHidden: "true", textContent: model.name.charAt(0) });
    const facts = `${this.kindLabels[model.kind]} · ${priceLabel(model)} · ${model.license}`;
    const card = el(
      "button",
      { type: "button", className: "model-card" },
      picture,
      el("strong", { textContent: model.name }),
      el("span", { className: "hint", textContent: facts }),
      el("span", { className: "hint model-text", textContent: model.description }),
    );
    card.addEventListener("click", () => {
      this.dialog.close();
      this.onChoose(model.id);
    });
    return el("li", {}, card);
  }
}
