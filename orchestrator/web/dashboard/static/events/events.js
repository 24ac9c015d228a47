// Who has changed what.

/** @import { OperatorEvent } from "../operator-types.d.ts" */

import { dataTable, formQuery, readQuery, showErrors } from "../operator/page.js";
import { api } from "../shared/api.js";
import { byId, el } from "../shared/dom.js";
import { dateTime } from "../shared/format.js";

const PAGE_SIZE = "50";
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
  return [time, event.actor, event.action, event.subject, detailText(event.detail)];
}

/**
 * Return the facts of an event in one line.
 * @param {Record<string, any>} detail
 */
function detailText(detail) {
  // The price list at that time is for comparing; the page names what changed.
  const shown = Object.entries(detail).filter(([name]) => name !== "prices");
  return shown.map(([name, value]) => `${name}: ${Array.isArray(value) ? value.join(", ") || "none" : value}`).join("; ");
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  history.replaceState(null, "", `/operations/events?${new URLSearchParams(formQuery(form))}`);
  showErrors(load(true));
});
byId("more").addEventListener("click", () => showErrors(load(false)));
readQuery(form);
showErrors(load(true));
