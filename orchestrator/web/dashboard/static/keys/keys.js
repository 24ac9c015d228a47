// The keys page: list, create, rotate and revoke the account's API keys.

/** @import { ApiKey } from "../types.d.ts" */

import { refreshAccount } from "../shared/account-header.js";
import { api } from "../shared/api.js";
import { copyText } from "../shared/clipboard.js";
import { button, byId, definitions, el } from "../shared/dom.js";
import { dateTime, dollars } from "../shared/format.js";
import { loadSection } from "../shared/load-section.js";
import { loadKeyForm, setUpKeyForm } from "./key-form.js";

const STATE_STYLES = { active: "good", expired: "bad", revoked: "bad" };

const list = byId("key-list");
const secretDialog = byId("new-secret", HTMLDialogElement);

/** @param {ApiKey} key */
function spendCaps({ daily_cap_usd: daily, monthly_cap_usd: monthly }) {
  const caps = [];
  if (daily !== null) caps.push(`${dollars(daily)} a day`);
  if (monthly !== null) caps.push(`${dollars(monthly)} a month`);
  return caps.join(", ") || "none";
}

/**
 * @param {ApiKey} key
 * @returns {[string, string][]}
 */
function keyDetails(key) {
  return [
    ["Scopes", key.scopes.join(", ")],
    ["Models", key.models?.join(", ") ?? "all"],
    ["Spend caps", spendCaps(key)],
    ["Expires", key.expires_at ? dateTime(key.expires_at) : "never"],
    ["Created", dateTime(key.created_at)],
    .../** @type {[string, string][]} */ (key.revoked_at ? [["Revoked", dateTime(key.revoked_at)]] : []),
  ];
}

/**
 * @param {ApiKey} key
 * @param {boolean} canChange
 */
function keyCard(key, canChange) {
  const state = el("span", { className: `tag push-right ${STATE_STYLES[key.state]}`, textContent: key.state });
  const prefix = el("code", { textContent: key.prefix });
  const header = el("div", { className: "row" }, el("h2", { textContent: key.name }), prefix, state);
  const card = el("li", { className: "panel" }, header);
  if (key.current) card.append(el("p", { className: "hint", textContent: "You are signed in with this key." }));
  card.append(el("dl", {}, ...definitions(keyDetails(key))));
  if (canChange && key.state !== "revoked") {
    const buttons = [button("Rotate", () => rotateKey(key)), button("Revoke", () => revokeKey(key))];
    for (const control of buttons) control.ariaLabel = `${control.textContent} ${key.name} ${key.prefix}`;
    card.append(el("div", { className: "row" }, ...buttons));
  }
  return card;
}

async function showKeys() {
  /** @type {{ keys: ApiKey[], may_change: boolean }} */
  const { keys, may_change: canChange } = await api("GET", "keys");
  byId("add").hidden = !canChange;
  byId("limited-key").hidden = canChange;
  const active = keys.filter((key) => key.state === "active");
  const inactive = keys.filter((key) => key.state !== "active");
  byId("active-keys").replaceChildren(...active.map((key) => keyCard(key, canChange)));
  byId("inactive-keys").replaceChildren(...inactive.map((key) => keyCard(key, canChange)));
  byId("inactive").hidden = !inactive.length;
  byId("inactive-count").textContent = `Revoked and expired keys (${inactive.length})`;
}

/**
 * Show the secret of a new key. The list is loaded again when the dialog is closed.
 * @param {ApiKey} key
 */
function showSecret(key) {
  byId("new-secret-title").textContent = `Secret of ${key.name}`;
  byId("secret").textContent = key.key ?? "";
  secretDialog.showModal();
}

/** @param {ApiKey} key */
async function rotateKey(key) {
  const question = `Rotate ${key.name} (${key.prefix})? Its current secret stops working at once.`;
  if (!confirm(question)) return;
  await loadSection(list, async () => showSecret(await api("POST", `keys/${key.id}/rotate`)));
}

/** @param {ApiKey} key */
async function revokeKey(key) {
  const signOut = key.current ? " You are signed in with this key and will be signed out." : "";
  const question = `Revoke ${key.name} (${key.prefix})? It stops working at once. You cannot undo this.${signOut}`;
  if (!confirm(question)) return;
  await loadSection(list, async () => {
    await api("POST", `keys/${key.id}/revoke`);
    await showKeys();
  });
  byId("announcement").textContent = `${key.name} is revoked`;
  list.focus();
}

const copy = byId("copy", HTMLButtonElement);
copy.addEventListener("click", () => copyText(byId("secret"), copy));
byId("done").addEventListener("click", () => secretDialog.close());
secretDialog.addEventListener("close", () => {
  byId("secret").textContent = "";
  loadSection(list, showKeys);
});
setUpKeyForm(showSecret);

loadSection(list, async () => {
  await refreshAccount();
  await Promise.all([showKeys(), loadKeyForm()]);
});
