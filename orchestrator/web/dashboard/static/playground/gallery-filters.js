// The search field and the filters above the gallery.

import { byId, el } from "../shared/dom.js";

const SEARCH_DELAY_MS = 250;
const DAY_MS = 86_400_000;

export class GalleryFilters {
  /**
   * @param {Map<string, string>} modelNames By model id.
   * @param {() => void} onChange
   */
  constructor(modelNames, onChange) {
    this.form = byId("gallery-filters", HTMLFormElement);
    const options = [...modelNames].map(([value, textContent]) => el("option", { value, textContent }));
    byId("filter-model").append(...options);
    this.timer = 0;
    const changed = (/** @type {number} */ delay) => {
      clearTimeout(this.timer);
      this.timer = setTimeout(onChange, delay);
      byId("clear-filters").hidden = !this.isActive;
    };
    this.form.addEventListener("input", (event) => changed(event.target === byId("search") ? SEARCH_DELAY_MS : 0));
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("reset", () => setTimeout(() => changed(0)));
  }

  /** The filters that are set, as parameters of a request. */
  get query() {
    /** @type {Record<string, string>} */
    const query = {};
    for (const [name, value] of new FormData(this.form)) {
      if (typeof value !== "string" || !value.trim()) continue;
      if (name === "day") Object.assign(query, dayRange(value));
      else query[name] = value.trim();
    }
    return query;
  }

  get isActive() {
    return Object.keys(this.query).length > 0;
  }

  /** The status that is asked for, if any. */
  get status() {
    return this.query.status;
  }
}

/**
 * Return the begin and end of a day in the browser's time zone.
 * @param {string} day Such as "2026-01-31".
 */
function dayRange(day) {
  const start = new Date(`${day}T00:00`);
  const end = new Date(start.getTime() + DAY_MS);
  // Where clocks change, a day is not 24 hours long.
  end.setMinutes(end.getMinutes() + end.getTimezoneOffset() - start.getTimezoneOffset());
  return { since: start.toISOString(), before: end.toISOString() };
}
