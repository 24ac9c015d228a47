// Spending in a chosen period: by day, model and key.

/** @import { UsageGroup, UsageReport, UsageRow } from "../types.d.ts" */

import { api } from "../shared/api.js";
import { byId, el, table } from "../shared/dom.js";
import { dollars } from "../shared/format.js";
import { loadSection } from "../shared/load-section.js";
import { barChart } from "./bar-chart.js";
import { listDays, listPeriods } from "./periods.js";

/** @import { Period } from "./periods.js" */

const DAY_FORMAT = new Intl.DateTimeFormat("en-US", { month: "short", day: "numeric", timeZone: "UTC" });

/** @param {string} day */
const formatDay = (day) => DAY_FORMAT.format(new Date(day));

/** @param {number} count */
const jobCount = (count) => (count === 1 ? "1 job" : `${count} jobs`);

export class Usage {
  /** @param {Map<string, string>} keyNames By key id. */
  constructor(keyNames) {
    this.keyNames = keyNames;
    this.periods = listPeriods(new Date());
    this.select = byId("period", HTMLSelectElement);
    this.select.replaceChildren(
      ...this.periods.map(({ name }, index) => el("option", { value: String(index), textContent: name })),
    );
    this.select.addEventListener("change", () => this.load());
  }

  get #period() {
    return this.periods[Number(this.select.value)];
  }

  load() {
    const period = this.#period;
    return loadSection(byId("spending"), () => this.#show(period));
  }

  /** @param {Period} period */
  async #show(period) {
    const { since, until } = period;
    /** @type {(by: UsageGroup) => Promise<UsageReport>} */
    const loadReport = (by) => api("GET", `billing/usage?${new URLSearchParams({ since, until, by })}`);
    const [byDay, byModel, byKey] = await Promise.all([loadReport("day"), loadReport("model"), loadReport("key")]);
    // The user may have chosen another period in the meantime.
    if (period !== this.#period) return;
    const { cost_usd: cost, jobs } = byDay.totals;
    byId("spent").textContent = `${dollars(cost)} for ${jobCount(jobs)}`;
    byId("no-spending").hidden = jobs > 0;
    byId("usage").replaceChildren(
      ...(jobs ? this.#createReports(period, byDay.usage, byModel.usage, byKey.usage) : []),
    );
    byId("csv-links").replaceChildren(...csvLinks(since, until));
  }

  /**
   * @param {Period} period
   * @param {UsageRow[]} byDay
   * @param {UsageRow[]} byModel
   * @param {UsageRow[]} byKey
   */
  #createReports(period, byDay, byModel, byKey) {
    const summary = el("summary", { textContent: "Days as a table" });
    const dayTable = usageTable("day", byDay, (row) => formatDay(row.day ?? ""));
    return [
      dailyChart(period, byDay),
      el("details", {}, summary, dayTable),
      usageTable("model", mostExpensiveFirst(byModel), (row) => row.model ?? ""),
      usageTable("key", mostExpensiveFirst(byKey), (row) => this.keyNames.get(row.key ?? "") ?? row.key ?? ""),
    ];
  }
}

/**
 * @param {Period} period
 * @param {UsageRow[]} byDay
 */
function dailyChart(period, byDay) {
  const costs = new Map(byDay.map((row) => [row.day, row.cost_usd]));
  const bars = listDays(period).map((day) => {
    const value = costs.get(day) ?? 0;
    return { label: formatDay(day), value, text: dollars(value) };
  });
  const description = byDay.map((row) => `${formatDay(row.day ?? "")}: ${dollars(row.cost_usd)}`).join("; ");
  return barChart(`Spending by day: ${period.name}`, description, bars);
}

/** @param {UsageRow[]} rows */
const mostExpensiveFirst = (rows) => [...rows].sort((one, other) => other.cost_usd - one.cost_usd);

/**
 * @param {UsageGroup} by
 * @param {UsageRow[]} rows
 * @param {(row: UsageRow) => string} nameOf
 */
function usageTable(by, rows, nameOf) {
  const cells = rows.map((row) => [nameOf(row), String(row.jobs), dollars(row.cost_usd)]);
  const heading = by.charAt(0).toUpperCase() + by.slice(1);
  return table(`By ${by}`, [heading, "Jobs", "Cost"], cells);
}

/**
 * @param {string} since
 * @param {string} until
 */
function csvLinks(since, until) {
  /**
   * @param {string} text
   * @param {string} report
   * @param {{ by?: UsageGroup }} [options]
   */
  const link = (text, report, options = {}) => {
    const query = new URLSearchParams({ since, until, ...options, format: "csv" });
    return el("a", { href: `/dashboard/api/billing/${report}?${query}`, download: "", textContent: text });
  };
  return [
    link("Ledger", "statement"),
    link("Usage by day", "usage", { by: "day" }),
    link("Usage by model", "usage", { by: "model" }),
    link("Usage by key", "usage", { by: "key" }),
  ];
}
