// The ledger: payments, holds and charges, newest first.

/** @import { LedgerEntry } from "../types.d.ts" */

import { api } from "../shared/api.js";
import { byId, el, tableRows } from "../shared/dom.js";
import { dateTime, dollars, signedDollars } from "../shared/format.js";
import { loadSection } from "../shared/load-section.js";

const PAGE_SIZE = 20;
const KIND_LABELS = {
  credit: "Payment",
  debit: "Correction",
  grant: "Credits granted",
  expire: "Credits expired",
  hold: "Held",
  capture: "Charged",
  release: "Released",
  refund: "Refund",
};

export class Ledger {
  constructor() {
    /** @type {string | null} Cursor of the next page. */
    this.cursor = null;
    byId("load-older").addEventListener("click", () => this.load());
  }

  /** Load the next page of older entries. */
  load() {
    return loadSection(byId("ledger"), async () => {
      const query = new URLSearchParams({ limit: String(PAGE_SIZE), ...(this.cursor && { cursor: this.cursor }) });
      /** @type {{ entries: LedgerEntry[], next: string | null }} */
      const page = await api("GET", `billing/ledger?${query}`);
      this.cursor = page.next;
      byId("load-older").hidden = !page.next;
      const body = byId("entries");
      body.append(...tableRows(page.entries.map(entryCells)));
      const isEmpty = !body.children.length;
      byId("no-entries").hidden = !isEmpty;
      const table = body.closest("table");
      if (table) table.hidden = isEmpty;
    });
  }
}

/**
 * Return the time, kind and amount of an entry.
 * @param {LedgerEntry} entry
 */
function entryCells(entry) {
  const label = el("span", { textContent: KIND_LABELS[entry.kind] });
  const reference = entry.job_id ?? entry.reference ?? "";
  const note = el("span", { className: "hint detail", textContent: reference, title: reference });
  // A charge is taken from the held amount and does not change the available balance: show it without a sign.
  const amount = entry.amount_usd
    ? el("span", { textContent: signedDollars(entry.amount_usd) })
    : el("span", { className: "hint", textContent: dollars(entry.moved_usd) });
  const time = el("time", { dateTime: entry.at, textContent: dateTime(entry.at) });
  return [time, el("div", {}, label, note), amount];
}
