// The billing page: wallet, spending, ledger, budget alerts and webhooks.

/** @import { ApiKey, Plan, WalletBalance } from "../types.d.ts" */

import { refreshAccount } from "../shared/account-header.js";
import { api } from "../shared/api.js";
import { byId } from "../shared/dom.js";
import { dollars } from "../shared/format.js";
import { loadSection } from "../shared/load-section.js";
import { Alerts } from "./alerts.js";
import { Ledger } from "./ledger.js";
import { setUpSigningSecret } from "./signing-secret.js";
import { Usage } from "./usage.js";
import { loadWebhookMessages } from "./webhook-messages.js";

const DATE_FORMAT = new Intl.DateTimeFormat("en-US", { dateStyle: "long" });

async function showWallet() {
  /** @type {[WalletBalance, Plan]} */
  const [balance, plan] = await Promise.all([api("GET", "billing/balance"), api("GET", "billing/plan")]);
  byId("available").textContent = dollars(balance.available_usd);
  byId("held").textContent = dollars(balance.held_usd);
  byId("empty-wallet").hidden = balance.balance_usd > 0;
  byId("plan").textContent = plan.price_usd ? `${plan.id}, ${dollars(plan.price_usd)} a month` : plan.id;
  byId("allowance").textContent = allowanceText(plan);
}

/** @param {Plan} plan */
function allowanceText(plan) {
  if (!plan.allowance_usd) return "None in this plan";
  const left = `${dollars(plan.left_usd)} of ${dollars(plan.allowance_usd)} left`;
  return `${left}; renews on ${DATE_FORMAT.format(new Date(plan.renews_at))}`;
}

/**
 * Return the names of the account's keys by id; none without the scope `read`.
 * @param {string[]} scopes
 */
async function loadKeyNames(scopes) {
  if (!scopes.includes("read")) return new Map();
  /** @type {{ keys: ApiKey[] }} */
  const { keys } = await api("GET", "keys");
  return new Map(keys.map((key) => [key.id, `${key.name} (${key.prefix})`]));
}

async function start() {
  const account = await refreshAccount();
  const hasScope = account.scopes.includes("billing");
  byId("missing-scope").hidden = hasScope;
  byId("billing-content").hidden = !hasScope;
  if (!hasScope) return;
  const usage = new Usage(await loadKeyNames(account.scopes));
  const alerts = new Alerts(refreshAccount);
  setUpSigningSecret();
  await Promise.all([
    loadSection(byId("wallet"), showWallet),
    usage.load(),
    alerts.load(),
    new Ledger().load(),
    loadWebhookMessages(),
  ]);
  // The browser looked for the fragment of the URL before the sections were visible.
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

loadSection(byId("main"), start);
