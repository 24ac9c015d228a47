// The account's API keys.

import { showAccount } from "./account.js";
import { api, Refused } from "./api.js";
import { copyTo } from "./clipboard.js";
import { button, byId, definitions, el } from "./dom.js";
import { amount, onSubmit } from "./forms.js";
import { dollars, when } from "./format.js";
import { fill } from "./sections.js";

const SCOPES = { generate: "make things", read: "look at jobs and keys", billing: "look after money" };
const LOOKS = { active: "good", expired: "bad", revoked: "bad" };

const form = byId("terms");

const checked = (name) => [...form.querySelectorAll(`[name=${name}]:checked`)].map((box) => box.value);

function caps({ daily_cap_usd: day, monthly_cap_usd: month }) {
  const known = [[day, "a day"], [month, "a month"]].filter(([usd]) => usd !== null);
  return known.map(([usd, time]) => `${dollars(usd)} ${time}`).join(", ") || "none";
}

function factsOf(key) {
  const ended = key.revoked_at ? [["Revoked", when(key.revoked_at)]] : [];
  return [
    ["May", key.scopes.join(", ")],
    ["Models", key.models?.join(", ") ?? "all"],
    ["Spend caps", caps(key)],
    ["Expires", key.expires_at ? when(key.expires_at) : "never"],
    ["Created", when(key.created_at)],
    ...ended,
  ];
}

function card(key, mayChange) {
  const state = el("span", { className: `tag end ${LOOKS[key.state]}`, textContent: key.state });
  const prefix = el("code", { textContent: key.prefix });
  const head = el("div", { className: "row" }, el("h2", { textContent: key.name }), prefix, state);
  const node = el("li", { className: "panel" }, head);
  if (key.current) node.append(el("p", { className: "hint", textContent: "You are signed in with this key." }));
  node.append(el("dl", {}, ...definitions(factsOf(key))));
  if (mayChange && key.state !== "revoked") {
    const acts = [button("Rotate", () => rotate(key)), button("Revoke", () => revoke(key))];
    for (const act of acts) act.ariaLabel = `${act.textContent} ${key.name} ${key.prefix}`;
    node.append(el("div", { className: "row" }, ...acts));
  }
  return node;
}

async function showKeys() {
  const { keys, may_change: mayChange } = await api("GET", "keys");
  byId("add").hidden = !mayChange;
  byId("limited").hidden = mayChange;
  const [used, ended] = [true, false].map((active) => keys.filter((key) => active === (key.state === "active")));
  byId("keys").replaceChildren(...used.map((key) => card(key, mayChange)));
  byId("ended-keys").replaceChildren(...ended.map((key) => card(key, mayChange)));
  byId("ended").hidden = !ended.length;
  byId("ended-count").textContent = `Revoked and expired keys (${ended.length})`;
}

const refresh = () => fill(byId("list"), showKeys);

// Its secret, this once; the list is renewed when it was read.
function showSecret(key) {
  byId("secret-of").textContent = `Secret of ${key.name}`;
  byId("secret").textContent = key.key;
  byId("secret-box").showModal();
}

async function rotate(key) {
  if (!confirm(`Give ${key.name} (${key.prefix}) another secret? The present one ends at once.`)) return;
  await fill(byId("list"), async () => showSecret(await api("POST", `keys/${key.id}/rotate`)));
}

async function revoke(key) {
  const end = key.current ? " You are signed in with it, and will be signed out." : "";
  if (!confirm(`Revoke ${key.name} (${key.prefix})? It ends at once, for ever.${end}`)) return;
  await fill(byId("list"), async () => {
    await api("POST", `keys/${key.id}/revoke`);
    await showKeys();
  });
  byId("news").textContent = `${key.name} is revoked`;
  byId("list").focus();
}

// A time of the browser's clock, as the API wants it.
const moment = (input) => (input.value ? new Date(input.value).toISOString() : undefined);

async function create() {
  const { name, daily_cap_usd: day, monthly_cap_usd: month, expires_at: end } = form.elements;
  if (!name.value.trim()) throw new Refused({ message: "Say what it is for", param: "name" });
  const scopes = checked("scopes");
  if (!scopes.length) throw new Refused({ message: "Choose at least one", param: "scopes" });
  const models = checked("models");
  const body = {
    name: name.value.trim(),
    scopes,
    models: models.length ? models : undefined,
    daily_cap_usd: amount(day),
    monthly_cap_usd: amount(month),
    expires_at: moment(end),
  };
  const key = await api("POST", "keys", { body });
  byId("new-key").close();
  form.reset();
  showSecret(key);
}

function box(name, value, text, ticked) {
  const input = el("input", { type: "checkbox", name, value, defaultChecked: ticked });
  return el("label", { className: "tick" }, input, el("span", { textContent: text }));
}

async function offerTerms() {
  const ticks = Object.entries(SCOPES).map(([scope, words]) => box("scopes", scope, `${scope}: ${words}`, true));
  byId("scopes").replaceChildren(...ticks);
  const { models } = await api("GET", "models");
  byId("models").replaceChildren(...models.map((model) => box("models", model.id, model.name, false)));
}

byId("add").addEventListener("click", () => byId("new-key").showModal());
byId("cancel").addEventListener("click", () => byId("new-key").close());
byId("copy").addEventListener("click", () => copyTo(byId("secret"), byId("copy")));
byId("done").addEventListener("click", () => byId("secret-box").close());
byId("secret-box").addEventListener("close", () => {
  byId("secret").textContent = "";
  refresh();
});
onSubmit(form, create);

fill(byId("list"), async () => {
  await showAccount();
  await Promise.all([showKeys(), offerTerms()]);
});
