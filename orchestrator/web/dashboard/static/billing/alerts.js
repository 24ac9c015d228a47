// The account's budget alerts: listed, added, changed, removed.

import { api } from "./api.js";
import { button, byId, el } from "./dom.js";
import { amount, field, onSubmit, written } from "./forms.js";
import { dollars } from "./format.js";
import { fill } from "./sections.js";

const WATCHED = {
  balance: "Balance falls below",
  day: "Spending of a day reaches",
  month: "Spending of a month reaches",
};

export class Alerts {
  // `changed()`: another alert may have fired by now, or none any more.
  constructor(changed) {
    this.changed = changed;
    const add = alertForm({}, "Add alert", async (terms) => {
      await api("POST", "billing/alerts", { body: terms });
      add.reset();
      await this.#done("Alert added");
    });
    byId("new-alert").append(add);
  }

  load() {
    return fill(byId("alerts"), async () => {
      const { alerts } = await api("GET", "billing/alerts");
      byId("no-alerts").hidden = alerts.length > 0;
      byId("alert-list").replaceChildren(...alerts.map((alert) => this.#item(alert)));
    });
  }

  #item(alert) {
    const said = `${WATCHED[alert.watch]} ${dollars(alert.threshold_usd)}`;
    const badge = el("span", { className: "tag bad", textContent: "Fired", hidden: !alert.fired });
    const told = alert.url ? `Tells ${alert.url}` : "Shown in the dashboard";
    const node = el("li", {});
    const change = button("Change", () => this.#edit(node, alert), "quiet");
    const remove = button("Remove", () => fill(byId("alerts"), () => this.#remove(alert)), "quiet");
    for (const control of [change, remove]) control.ariaLabel = `${control.textContent}: ${said}`;
    const what = el("p", {}, el("span", { textContent: said }), " ", badge);
    const about = el("p", { className: "hint about", textContent: told });
    node.append(what, about, el("div", { className: "row acts" }, change, remove));
    return node;
  }

  #edit(node, alert) {
    const form = alertForm(alert, "Save", async ({ threshold_usd, url }) => {
      await api("PUT", `billing/alerts/${alert.id}`, { body: { threshold_usd, url } });
      await this.#done("Alert changed");
    });
    const back = () => {
      const item = this.#item(alert);
      node.replaceWith(item);
      item.querySelector("button").focus();
    };
    form.querySelector(".row").append(button("Cancel", back, "quiet"));
    node.replaceChildren(form);
    form.elements.threshold_usd.focus();
  }

  async #remove(alert) {
    await api("DELETE", `billing/alerts/${alert.id}`);
    await this.#done("Alert removed");
  }

  async #done(news) {
    await Promise.all([this.load(), this.changed()]);
    byId("news").textContent = news;
    byId("alerts").focus();
  }
}

// `send(terms)` gets what the form says. What an alert watches is chosen once.
function alertForm(alert, verb, send) {
  const options = Object.entries(WATCHED).map(([value, textContent]) => el("option", { value, textContent }));
  const watch = el("select", { name: "watch" }, ...options);
  watch.value = alert.watch ?? "balance";
  watch.disabled = Boolean(alert.watch);
  const props = { name: "threshold_usd", inputMode: "decimal", autocomplete: "off" };
  const threshold = el("input", { ...props, value: alert.threshold_usd ?? "" });
  const url = el("input", { name: "url", type: "url", value: alert.url ?? "", placeholder: "https://" });
  const form = el(
    "form",
    { ariaLabel: verb },
    field("When", watch),
    field("Dollars", threshold),
    field("Webhook", url, "Optional: a signed message is posted there, too."),
    el("div", {}, el("p", { className: "refusal", role: "alert" })),
    el("div", { className: "row" }, el("button", { type: "submit", textContent: verb })),
  );
  onSubmit(form, () => send({ watch: watch.value, threshold_usd: amount(threshold), url: written(url) }));
  return form;
}
