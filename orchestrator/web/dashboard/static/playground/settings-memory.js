// Remembers the settings of the form across visits, in this browser only. Files are not kept.

/** @import { Params } from "../types.d.ts" */

const STORAGE_KEY = "pixelfactory-playground";
/** Models whose settings are kept. */
const MAX_MODELS = 30;

/** @typedef {{ model?: string, params: Record<string, Params> }} Memory */

export class SettingsMemory {
  /** @param {string} account Settings of another account are forgotten. */
  constructor(account) {
    this.account = account;
    /** @type {Memory} */
    this.memory = this.#read();
  }

  /** @returns {Memory} */
  #read() {
    try {
      const stored = JSON.parse(localStorage.getItem(STORAGE_KEY) ?? "{}");
      if (stored.account === this.account && typeof stored.params === "object") return stored;
    } catch {
      // Storage is blocked, or another version has written it.
    }
    return { params: {} };
  }

  /** The model that was used last. */
  get model() {
    return this.memory.model;
  }

  /** The models whose settings are kept, the one used last first. */
  get models() {
    return Object.keys(this.memory.params).reverse();
  }

  /**
   * Return the settings that were last used with a model.
   * @param {string} model
   */
  paramsOf(model) {
    return this.memory.params[model];
  }

  /**
   * @param {string} model
   * @param {Params} params
   */
  save(model, params) {
    const others = Object.entries(this.memory.params).filter(([name]) => name !== model);
    const kept = others.slice(-(MAX_MODELS - 1));
    this.memory = { model, params: { ...Object.fromEntries(kept), [model]: params } };
    try {
      localStorage.setItem(STORAGE_KEY, JSON.stringify({ account: this.account, ...this.memory }));
    } catch {
      // Storage is full or blocked: the settings last as long as the page.
    }
  }
}
