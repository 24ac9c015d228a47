// Who has changed what.

/** @import { OperatorEvent } from "../operator-types.d.ts" */

import { dataTable, formQuery, readQuery, showErrors } from "../operator/page.js";
import { api } from "../shared/api.js";
import { byId, el } from "../shared/dom.js";
import { dateTime, dollars } from "../shared/format.js";

const PAGE_SIZE = "50";
const PRICES_ACTION = "prices.change";
/** More prices than these are shown when the operator opens the list. */
const MAX_SHOWN_PRICES = 5;
const COLUMNS = [{ title: "When" }, { title: "Who" }, { title: "What" }, { title: "Of" }, { title: "Details", kind: "wrap" }];
const form = byId("filters", HTMLFormElement);
/** @type {OperatorEvent[]} */
let events = [];
/** @type {string | null} */
let cursor = null;

/** @param {boolean} isFirst */
async function load(isFirst) {
  const query = new URLSearchParams({ ...formQuery(form), limit: PAGE_SIZE });
  if (!isFirst && cursor !== null) query.set("cursor", cursor);
  /** @type {{ events: OperatorEvent[], next_cursor: string | null }} */
  const page = await api("GET", `admin/v1/events?${query}`);
  events = isFirst ? page.events : [...events, ...page.events];
  cursor = page.next_cursor;
  byId("more").hidden = cursor === null;
  const caption = events.length === 0 ? "Nothing like that was changed." : `${events.length} changes, newest first`;
  byId("rows").replaceChildren(dataTable(caption, COLUMNS, events.map(toCells)));
}

/** @param {OperatorEvent} event */
function toCells(event) {
  const time = el("time", { dateTime: event.at, textContent: dateTime(event.at) });
  return [time, event.actor, event.action, event.subject, details(event)];
}

/**
 * Return the facts of an event: one line, or a list that opens.
 * @param {OperatorEvent} event
 */
function details({ action, detail }) {
  if (action === PRICES_ACTION && "prices" in detail) return priceDetails(detail);
  return Object.entries(detail)
    .map(([name, value]) => `${name}: ${toText(value)}`)
    .join("; ");
}

/**
 * Say which prices were set, and what they were before. Each is that of the base size of its class.
 * @param {Record<string, any>} detail
 */
function priceDetails({ changed, before, prices }) {
  // Earlier versions named none in the first record, and no earlier prices.
  const names = changed.length ? changed : Object.keys(prices);
  const lines = names.map((/** @type {string} */ name) => {
    const price = name in prices ? dollars(Number(prices[name])) : "removed";
    const old = before?.[name] === undefined ? "" : `, before ${dollars(Number(before[name]))}`;
    return el("li", { textContent: `${name}: ${price}${old}` });
  });
  const title = `${names.length} ${names.length === 1 ? "price" : "prices"} set`;
  const summary = el("summary", { textContent: title });
  return el("details", { open: lines.length <= MAX_SHOWN_PRICES }, summary, el("ul", {}, ...lines));
}

/**
 * @param {any} value
 * @returns {string}
 */
function toText(value) {
  if (Array.isArray(value)) return value.map(toText).join(", ") || "none";
  if (value === null || typeof value !== "object") return String(value);
  return Object.entries(value).map(([name, part]) => `${name} ${toText(part)}`).join(", ") || "none";
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  history.replaceState(null, "", `/operations/events?${new URLSearchParams(formQuery(form))}`);
  showErrors(load(true));
});
byId("more").addEventListener("click", () => showErrors(load(false)));
readQuery(form);
showErrors(load(true));
