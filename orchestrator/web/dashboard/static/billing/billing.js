// The account's money: what is left, what it was spent on, what to be warned of, and who was told.

import { showAccount } from "./account.js";
import { Alerts } from "./alerts.js";
import { api } from "./api.js";
import { byId } from "./dom.js";
import { dollars } from "./format.js";
import { Ledger } from "./ledger.js";
import { loadOutbox, offerSecret } from "./outbox.js";
import { fill } from "./sections.js";
import { Usage } from "./usage.js";

const DAY = new Intl.DateTimeFormat("en-US", { dateStyle: "long" });

async function showWallet() {
  const [balance, plan] = await Promise.all([api("GET", "billing/balance"), api("GET", "billing/plan")]);
  byId("available").textContent = dollars(balance.available_usd);
  byId("held").textContent = dollars(balance.held_usd);
  byId("empty-wallet").hidden = balance.balance_usd > 0;
  byId("plan").textContent = plan.price_usd ? `${plan.id}, ${dollars(plan.price_usd)} a month` : plan.id;
  const left = `${dollars(plan.left_usd)} of ${dollars(plan.allowance_usd)} left`;
  const anew = `anew on ${DAY.format(new Date(plan.renews_at))}`;
  byId("allowance").textContent = plan.allowance_usd ? `${left}; ${anew}` : "None: the wallet is filled by payments";
}

// What the account's keys are called, if this one may know.
async function keyNames(scopes) {
  if (!scopes.includes("read")) return new Map();
  const { keys } = await api("GET", "keys");
  return new Map(keys.map((key) => [key.id, `${key.name} (${key.prefix})`]));
}

async function start() {
  const account = await showAccount();
  const allowed = account.scopes.includes("billing");
  byId("closed").hidden = allowed;
  byId("open").hidden = !allowed;
  if (!allowed) return;
  const usage = new Usage(await keyNames(account.scopes));
  const alerts = new Alerts(showAccount);
  offerSecret();
  const parts = [fill(byId("wallet"), showWallet), usage.load(), alerts.load(), new Ledger().load(), loadOutbox()];
  await Promise.all(parts);
  // What the address names was not there yet when the browser looked for it.
  if (location.hash) byId(location.hash.slice(1))?.scrollIntoView();
}

fill(byId("page"), start);
