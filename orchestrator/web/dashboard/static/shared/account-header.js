// The head of a caller's page: who is signed in, what is left, and what the account is warned of.

import { api, signOut } from "./api.js";
import { byId, el } from "./dom.js";
import { dollars } from "./format.js";

const FIRED = {
  balance: "The balance is below",
  day: "Today’s spending has reached",
  month: "This month’s spending has reached",
};

const sentence = (alert) => `${FIRED[alert.watch]} ${dollars(alert.threshold_usd)}. `;

// Also after money has moved. Gives the account.
export async function showAccount() {
  const account = await api("GET", "account");
  byId("balance").title = `${account.name}, ${account.key}`;
  if (account.balance) {
    const { available_usd: available, held_usd: held } = account.balance;
    byId("balance").textContent = `Balance ${dollars(available)}${held ? ` · ${dollars(held)} held` : ""}`;
  }
  warn(account.alerts.map(sentence).join(""));
  return account;
}

// Says it once: what has not changed is not read out again.
function warn(text) {
  const notice = byId("notice");
  notice.hidden = !text;
  if (notice.dataset.text === text) return;
  notice.dataset.text = text;
  const link = el("a", { href: "/billing#alerts", textContent: "Budget alerts" });
  notice.replaceChildren(el("strong", { textContent: "Budget alert. " }), text, link);
}

byId("sign-out").addEventListener("click", signOut);
