// Every movement of money, newest first, page by page.

import { api } from "./api.js";
import { byId, el, rowsOf } from "./dom.js";
import { dollars, signedDollars, when } from "./format.js";
import { fill } from "./sections.js";

const PAGE = 20;
const KINDS = {
  credit: "Payment",
  debit: "Correction",
  grant: "Credits given",
  expire: "Credits expired",
  hold: "Held",
  capture: "Charged",
  release: "Released",
  refund: "Refund",
};

export class Ledger {
  constructor() {
    byId("older").addEventListener("click", () => this.load());
  }

  // The next page of older entries.
  load() {
    return fill(byId("ledger"), async () => {
      const query = new URLSearchParams({ limit: PAGE, ...(this.next && { cursor: this.next }) });
      const page = await api("GET", `billing/ledger?${query}`);
      this.next = page.next;
      byId("older").hidden = !page.next;
      byId("entries").append(...rowsOf(page.entries.map(cells)));
      const empty = !byId("entries").children.length;
      byId("no-entries").hidden = !empty;
      byId("entries").closest("table").hidden = empty;
    });
  }
}

function cells(entry) {
  const said = el("span", { textContent: KINDS[entry.kind] });
  const about = entry.job_id ?? entry.reference ?? "";
  const note = el("span", { className: "hint about", textContent: about, title: about });
  // What moves out of the held part changes nothing that could be spent.
  const amount = entry.amount_usd
    ? el("span", { textContent: signedDollars(entry.amount_usd) })
    : el("span", { className: "hint", textContent: dollars(entry.moved_usd) });
  return [el("time", { dateTime: entry.at, textContent: when(entry.at) }), el("div", {}, said, note), amount];
}
