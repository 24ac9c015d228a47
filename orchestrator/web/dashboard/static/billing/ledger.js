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
/** Entries that move money between available and held: they change no balance. */
const HOLDS = new Set(["hold", "release"]);

export class Ledger {
  constructor() {
    /** @type {string | null} Cursor of the next page. */
    this.cursor = null;
    this.showsHolds = byId("show-holds", HTMLInputElement);
    this.showsHolds.addEventListener("change", () => this.#restart());
    byId("load-older").addEventListener("click", () => this.load());
  }

  #restart() {
    this.cursor = null;
    byId("entries").replaceChildren();
    return this.load();
  }

  /** Load the next page of older entries. */
  load() {
    return loadSection(byId("ledger"), async () => {
      const query = new URLSearchParams({
        limit: String(PAGE_SIZE),
        ...(this.showsHolds.checked ? {} : { changes_only: "true" }),
        ...(this.cursor && { cursor: this.cursor }),
      });
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
 * Return date, what it is for, amount and balance of an entry.
 * @param {LedgerEntry} entry
 */
function entryCells(entry) {
  const label = el("span", { textContent: KIND_LABELS[entry.kind] });
  const time = el("time", { dateTime: entry.at, textContent: dateTime(entry.at) });
  const amount = HOLDS.has(entry.kind)
    ? el("span", { className: "hint", textContent: dollars(entry.moved_usd) })
    : el("span", { textContent: signedDollars(entry.change_usd) });
  const balance = el("span", { textContent: dollars(entry.balance_after_usd) });
  return [time, el("div", {}, label, ...entryNote(entry)), amount, balance];
}

/**
 * Return what an entry belongs to: a link to its job, or the reference of a payment.
 * @param {LedgerEntry} entry
 */
function entryNote({ job_id: job, model, reference }) {
  const link = el("a", { href: `/?job=${job}`, title: job ?? "", textContent: model ?? job ?? "" });
  const text = el("span", { className: "hint detail", textContent: reference ?? "", title: reference ?? "" });
  return [...(job ? [" ", link] : []), ...(reference ? [" ", text] : [])];
}
