// The header of the pages for API keys: balance, fired budget alerts, and the sign-out button.

/** @import { Account, BudgetAlert } from "../types.d.ts" */

import { api, signOut } from "./api.js";
import { byId, el } from "./dom.js";
import { dollars } from "./format.js";

const FIRED_ALERT_TEXTS = {
  balance: "The balance is below",
  day: "Today’s spending has reached",
  month: "This month’s spending has reached",
};

/** @param {BudgetAlert} alert */
const alertText = (alert) => `${FIRED_ALERT_TEXTS[alert.watch]} ${dollars(alert.threshold_usd)}. `;

/** Load the account and update the header. Call it again when the balance or the alerts may have changed. */
export async function refreshAccount() {
  /** @type {Account} */
  const account = await api("GET", "account");
  byId("balance").title = `${account.name}, ${account.key}`;
  if (account.balance) {
    const { available_usd: available, held_usd: held } = account.balance;
    byId("balance").textContent = `Balance ${dollars(available)}${held ? ` · ${dollars(held)} held` : ""}`;
  }
  showNotice(account.alerts.map(alertText).join(""));
  return account;
}

/**
 * Show the fired alerts. Screen readers announce a change, so an unchanged text is left alone.
 * @param {string} text
 */
function showNotice(text) {
  const notice = byId("notice");
  notice.hidden = !text;
  if (notice.dataset.text === text) return;
  notice.dataset.text = text;
  const link = el("a", { href: "/billing#alerts", textContent: "Budget alerts" });
  notice.replaceChildren(el("strong", { textContent: "Budget alert. " }), text, link);
}

byId("sign-out").addEventListener("click", signOut);
