// Revenue, cost and margin by day, model and GPU.

/** @import { MarginRow } from "../operator-types.d.ts" */

import { dataTable, duration, figures, showErrors } from "../operator/page.js";
import { svg } from "../operator/svg.js";
import { api } from "../shared/api.js";
import { byId, el } from "../shared/dom.js";
import { dollars, signedDollars } from "../shared/format.js";

const DAY_MS = 86_400_000;
const HEIGHT = 100;
const period = byId("period", HTMLSelectElement);

async function load() {
  const since = new Date(Date.now() - (Number(period.value) - 1) * DAY_MS).toISOString().slice(0, 10);
  const [days, models, devices] = await Promise.all(["day", "model", "device"].map((by) => margins(since, by)));
  const total = days.reduce(add, { shards: 0, gpu_seconds: 0, revenue_usd: 0, cost_usd: 0, margin_usd: 0 });
  const hours = total.gpu_seconds / 3600;
  byId("totals").replaceChildren(
    ...figures([
      ["Revenue", cents(total.revenue_usd)],
      ["Cost", cents(total.cost_usd)],
      ["Margin", cents(total.margin_usd), total.margin_usd < 0 ? "bad" : ""],
      ["GPU time", duration(total.gpu_seconds)],
      ["Revenue per GPU hour", hours ? cents(total.revenue_usd / hours) : "–"],
    ]),
  );
  byId("chart").replaceChildren(days.length ? chart(days) : el("p", { className: "hint", textContent: "No work in this period." }));
  byId("tables").replaceChildren(
    marginTable("By model", "Model", models, (row) => row.model ?? ""),
    marginTable("By GPU", "GPU", devices, (row) => row.device ?? ""),
    marginTable("By day", "Day (UTC)", [...days].reverse(), (row) => row.day ?? ""),
  );
}

/**
 * @param {string} since
 * @param {string} by
 * @returns {Promise<MarginRow[]>}
 */
async function margins(since, by) {
  return (await api("GET", `admin/v1/margins?${new URLSearchParams({ since, by })}`)).margins;
}

/**
 * @param {MarginRow} sum
 * @param {MarginRow} row
 */
function add(sum, row) {
  return {
    shards: sum.shards + row.shards,
    gpu_seconds: sum.gpu_seconds + row.gpu_seconds,
    revenue_usd: sum.revenue_usd + row.revenue_usd,
    cost_usd: sum.cost_usd + row.cost_usd,
    margin_usd: sum.margin_usd + row.margin_usd,
  };
}

/** @param {number} usd */
const cents = (usd) => dollars(Math.round(usd * 10_000) / 10_000);

/**
 * @param {string} caption
 * @param {string} title
 * @param {MarginRow[]} rows
 * @param {(row: MarginRow) => string} name
 */
function marginTable(caption, title, rows, name) {
  const titles = ["Results", "GPU time", "Revenue", "Cost", "Margin"];
  const cells = rows.map((row) => [
    name(row),
    String(row.shards),
    duration(row.gpu_seconds),
    cents(row.revenue_usd),
    cents(row.cost_usd),
    el("span", { className: row.margin_usd < 0 ? "negative" : "", textContent: signedDollars(Math.round(row.margin_usd * 10_000) / 10_000) }),
  ]);
  const columns = titles.map((one) => ({ title: one, kind: "number" }));
  const table = dataTable(caption, [{ title }, ...columns], cells);
  return el("div", { className: "scroll", tabIndex: 0, role: "group", ariaLabel: caption }, table);
}

/**
 * Draw revenue and cost by day.
 * @param {MarginRow[]} days
 */
function chart(days) {
  const highest = Math.max(...days.flatMap((row) => [row.revenue_usd, row.cost_usd]), 1e-9);
  const bars = days.flatMap((row, index) =>
    /** @type {const} */ (["revenue", "cost"]).map((kind, place) => {
      const usd = row[`${kind}_usd`];
      const height = usd > 0 ? Math.max(1, (HEIGHT * usd) / highest) : 0;
      const title = svg("title", {}, `${row.day}: ${kind} ${cents(usd)}`);
      return svg("rect", { class: kind, x: index * 10 + 1 + 4 * place, y: HEIGHT - height, width: 3.6, height }, title);
    }),
  );
  const label = `Revenue and cost of ${days.length} days, at most ${cents(highest)} a day; the table below has the amounts`;
  const drawing = svg(
    "svg",
    { class: "money-chart", viewBox: `0 0 ${days.length * 10} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    ...bars,
  );
  const legend = el(
    "p",
    { className: "legend hint", ariaHidden: "true" },
    el("span", { className: "key busy", textContent: "revenue" }),
    el("span", { className: "key loading", textContent: "cost" }),
    el("span", { textContent: `up to ${cents(highest)} a day` }),
  );
  return el("figure", {}, legend, drawing);
}

period.addEventListener("change", () => showErrors(load()));
showErrors(load());
