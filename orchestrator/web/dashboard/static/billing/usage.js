// What was spent in a chosen time: by day, model and key.

import { api } from "./api.js";
import { barChart } from "./chart.js";
import { byId, el, table } from "./dom.js";
import { dollars } from "./format.js";
import { fill } from "./sections.js";

const MONTHS = 12;
const DAY_MS = 86_400_000;
const MONTH_NAME = new Intl.DateTimeFormat("en-US", { month: "long", year: "numeric", timeZone: "UTC" });
const DAY_NAME = new Intl.DateTimeFormat("en-US", { month: "short", day: "numeric", timeZone: "UTC" });

const iso = (time) => new Date(time).toISOString().slice(0, 10);
const dayName = (day) => DAY_NAME.format(new Date(day));
const jobs = (count) => (count === 1 ? "1 job" : `${count} jobs`);

// Days are counted in UTC, as the books do. Each time is known by its first day and the first one left out.
function times(now) {
  const today = Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate());
  const month = (back) => Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - back, 1);
  const months = Array.from({ length: MONTHS }, (_, back) => [
    back ? MONTH_NAME.format(month(back)) : "This month",
    month(back),
    month(back - 1),
  ]);
  const recent = [7, 30].map((days) => [`Last ${days} days`, today - (days - 1) * DAY_MS, today + DAY_MS]);
  return [months[0], ...recent, ...months.slice(1)].map(([name, since, until]) => ({
    name,
    since: iso(since),
    until: iso(until),
  }));
}

function daysOf({ since, until }) {
  const length = Math.round((Date.parse(until) - Date.parse(since)) / DAY_MS);
  return Array.from({ length }, (_, index) => iso(Date.parse(since) + index * DAY_MS));
}

export class Usage {
  // `keys`: what keys are called, by id.
  constructor(keys) {
    this.keys = keys;
    this.times = times(new Date());
    this.select = byId("period");
    this.select.replaceChildren(...this.times.map(({ name }, value) => el("option", { value, textContent: name })));
    this.select.addEventListener("change", () => this.load());
  }

  load() {
    const time = this.times[this.select.value];
    return fill(byId("spending"), () => this.#show(time));
  }

  async #show(time) {
    const { name, ...range } = time;
    const ask = (by) => api("GET", `billing/usage?${new URLSearchParams({ ...range, by })}`);
    const [days, models, keys] = await Promise.all(["day", "model", "key"].map(ask));
    // Somebody may have chosen another time meanwhile.
    if (time !== this.times[this.select.value]) return;
    const { cost_usd: cost, jobs: count } = days.totals;
    byId("spent").textContent = `${dollars(cost)} for ${jobs(count)}`;
    byId("nothing-spent").hidden = count > 0;
    byId("usage").replaceChildren(...(count ? this.#views(time, days.usage, models.usage, keys.usage) : []));
    byId("tables").replaceChildren(...downloads(range));
  }

  #views(time, days, models, keys) {
    const costs = new Map(days.map((row) => [row.day, row.cost_usd]));
    const bars = daysOf(time).map((day) => {
      const value = costs.get(day) ?? 0;
      return { label: dayName(day), value, text: dollars(value) };
    });
    const said = days.map((row) => `${dayName(row.day)}: ${dollars(row.cost_usd)}`).join("; ");
    const unfold = el("summary", { textContent: "Days as a table" });
    const byDay = el("details", {}, unfold, lines("Day", days, "day", dayName));
    const called = (id) => this.keys.get(id) ?? id;
    return [
      barChart(`Spending by day: ${time.name}`, said, bars),
      byDay,
      lines("Model", models, "model"),
      lines("Key", keys, "key", called),
    ];
  }
}

// The dearest first, but days in their order.
function lines(heading, rows, by, called = (id) => id) {
  const order = by === "day" ? rows : rows.toSorted((one, other) => other.cost_usd - one.cost_usd);
  const cells = order.map((row) => [called(row[by]), String(row.jobs), dollars(row.cost_usd)]);
  return table(`By ${by}`, [heading, "Jobs", "Cost"], cells);
}

function downloads(range) {
  const link = (text, path, more) => {
    const query = new URLSearchParams({ ...range, ...more, format: "csv" });
    return el("a", { href: `/dashboard/api/billing/${path}?${query}`, download: "", textContent: text });
  };
  return [
    link("Ledger", "statement"),
    ...["day", "model", "key"].map((by) => link(`Usage by ${by}`, "usage", { by })),
  ];
}
