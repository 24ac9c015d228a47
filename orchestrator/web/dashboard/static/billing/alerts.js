// Budget alerts: list, add, change and remove them.

/** @import { AlertMetric, BudgetAlert } from "../types.d.ts" */

import { api } from "../shared/api.js";
import { button, byId, el } from "../shared/dom.js";
import { dollarValue, field, formError, handleSubmit, select, textValue } from "../shared/forms.js";
import { dollars } from "../shared/format.js";
import { loadSection } from "../shared/load-section.js";

/** @type {Record<AlertMetric, string>} */
const METRIC_LABELS = {
  balance: "Balance falls below",
  day: "Daily spending reaches",
  month: "Monthly spending reaches",
};

/**
 * @typedef {object} AlertTerms
 * @property {string} watch
 * @property {string} [threshold_usd]
 * @property {string} [url]
 */

export class Alerts {
  /** @param {() => Promise<unknown>} onChange Called when the fired alerts may have changed. */
  constructor(onChange) {
    this.onChange = onChange;
    const form = alertForm(undefined, "Add alert", async (terms) => {
      await api("POST", "billing/alerts", { body: terms });
      form.reset();
      await this.#finish("Alert added");
    });
    byId("new-alert").append(form);
  }

  load() {
    return loadSection(byId("alerts"), async () => {
      /** @type {{ alerts: BudgetAlert[] }} */
      const { alerts } = await api("GET", "billing/alerts");
      byId("no-alerts").hidden = alerts.length > 0;
      byId("alert-list").replaceChildren(...alerts.map((alert) => this.#createItem(alert)));
    });
  }

  /** @param {BudgetAlert} alert */
  #createItem(alert) {
    const condition = `${METRIC_LABELS[alert.watch]} ${dollars(alert.threshold_usd)}`;
    const tag = el("span", { className: "tag bad", textContent: "Fired", hidden: !alert.fired });
    const destination = alert.url ? `Webhook: ${alert.url}` : "Shown in the dashboard only";
    const item = el("li", {});
    const change = button("Change", () => this.#edit(item, alert), "quiet");
    const remove = button("Remove", () => loadSection(byId("alerts"), () => this.#remove(alert)), "quiet");
    for (const control of [change, remove]) control.ariaLabel = `${control.textContent}: ${condition}`;
    item.append(
      el("p", {}, el("span", { textContent: condition }), " ", tag),
      el("p", { className: "hint detail", textContent: destination }),
      el("div", { className: "row row-actions" }, change, remove),
    );
    return item;
  }

  /**
   * Replace an item of the list with a form.
   * @param {HTMLElement} item
   * @param {BudgetAlert} alert
   */
  #edit(item, alert) {
    const form = alertForm(alert, "Save", async ({ threshold_usd, url }) => {
      await api("PUT", `billing/alerts/${alert.id}`, { body: { threshold_usd, url } });
      await this.#finish("Alert changed");
    });
    const cancel = () => {
      const restored = this.#createItem(alert);
      item.replaceWith(restored);
      restored.querySelector("button")?.focus();
    };
    form.querySelector(".row")?.append(button("Cancel", cancel, "quiet"));
    item.replaceChildren(form);
    /** @type {HTMLInputElement | null} */ (form.querySelector("[name=threshold_usd]"))?.focus();
  }

  /** @param {BudgetAlert} alert */
  async #remove(alert) {
    await api("DELETE", `billing/alerts/${alert.id}`);
    await this.#finish("Alert removed");
  }

  /** @param {string} announcement */
  async #finish(announcement) {
    await Promise.all([this.load(), this.onChange()]);
    byId("announcement").textContent = announcement;
    byId("alerts").focus();
  }
}

/**
 * Create a form for a new alert, or to change one. The metric of an alert cannot change.
 * @param {BudgetAlert | undefined} alert
 * @param {string} submitText
 * @param {(terms: AlertTerms) => Promise<void>} send
 */
function alertForm(alert, submitText, send) {
  const metric = select(Object.entries(METRIC_LABELS));
  Object.assign(metric, { name: "watch", value: alert?.watch ?? "balance", disabled: alert !== undefined });
  const threshold = el("input", {
    name: "threshold_usd",
    inputMode: "decimal",
    autocomplete: "off",
    value: alert ? String(alert.threshold_usd) : "",
  });
  const url = el("input", { name: "url", type: "url", value: alert?.url ?? "", placeholder: "https://" });
  const form = el(
    "form",
    { ariaLabel: submitText },
    field("Condition", metric),
    field("Threshold ($)", threshold),
    field("Webhook URL", url, { hint: "Optional. The service also posts a signed message to this URL." }),
    el("div", {}, formError()),
    el("div", { className: "row" }, el("button", { type: "submit", textContent: submitText })),
  );
  handleSubmit(form, () =>
    send({ watch: metric.value, threshold_usd: dollarValue(threshold), url: textValue(url) }),
  );
  return form;
}
