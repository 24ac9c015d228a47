// The wall: fleet and queue as the service sends them, with the actions of an operator.

/** @import { QuarantinedShard } from "../types.d.ts" */
/** @import { FleetInstance, FleetStatus, FleetSummary } from "../operator-types.d.ts" */
/** @import { InstanceAction } from "./instance-card.js" */

import { ask, duration, figures, percent, showErrors } from "../operator/page.js";
import { api, request } from "../shared/api.js";
import { byId } from "../shared/dom.js";
import { dollars } from "../shared/format.js";
import { InstanceCard } from "./instance-card.js";
import { quarantineCard } from "./quarantine-card.js";
import { handleKeys } from "./wall-keys.js";

const QUARANTINE_MS = 15_000;
/** How long a lost connection may be away before the page says so. */
const PATIENCE_MS = 4000;
/** Order of the cards: what needs an operator comes first. */
const STATE_ORDER = ["failed", "down", "starting", "drained", "draining", "ready"];

/** @type {Map<string, FleetInstance>} */
const instances = new Map();
/** @type {Map<string, InstanceCard>} */
const cards = new Map();
const wall = byId("instances");
const log = byId("log", HTMLDialogElement);
const actions = {
  run: (/** @type {string} */ id, /** @type {InstanceAction} */ action) => void showErrors(runAction(id, action)),
  showLog: (/** @type {string} */ id) => void showErrors(showLog(id)),
};
/** @type {EventSource | null} */
let stream = null;

/** Follow the fleet while the page is visible. */
function follow() {
  if (document.hidden) {
    stream?.close();
    stream = null;
  } else if (stream === null) {
    stream = new EventSource("/dashboard/api/admin/v1/fleet/live");
    stream.addEventListener("fleet", (event) => show(JSON.parse(event.data), true));
    stream.addEventListener("changed", (event) => show(JSON.parse(event.data), false));
    stream.addEventListener("open", () => (byId("connection").textContent = ""));
    stream.addEventListener("error", reconnect);
  }
}

/**
 * Say that the connection was lost, if it does not come back at once: a stream ends every few minutes. The browser
 * connects again by itself, unless the service has refused it.
 */
function reconnect() {
  setTimeout(() => {
    if (document.hidden || stream?.readyState === EventSource.OPEN) return;
    byId("connection").textContent = "The connection to the service was lost; connecting again.";
  }, PATIENCE_MS);
  if (stream?.readyState !== EventSource.CLOSED) return;
  stream = null;
  setTimeout(() => showErrors(api("GET", "admin/v1/fleet").then(follow, retryLater)), 2000);
}

/** @param {Error} error */
function retryLater(error) {
  setTimeout(follow, 5000);
  throw error;
}

/**
 * Show the fleet, or what of it has changed.
 * @param {FleetStatus} status
 * @param {boolean} isAll
 */
function show(status, isAll) {
  if (isAll) instances.clear();
  for (const id of status.gone ?? []) instances.delete(id);
  for (const instance of status.instances) instances.set(instance.id, instance);
  byId("simulated").hidden = !status.summary.simulated;
  byId("summary").replaceChildren(...figures(summaryOf(status.summary)));
  for (const instance of status.instances) cardOf(instance.id).update(instance, status.account_names);
  for (const [id, card] of cards) if (!instances.has(id)) removeCard(id, card);
  sortCards();
}

/**
 * @param {FleetSummary} summary
 * @returns {[string, string, string?][]}
 */
function summaryOf(summary) {
  const states = STATE_ORDER.filter((state) => summary.by_state[state]).map((state) => `${summary.by_state[state]} ${state}`);
  const { failures_last_hour: failures, usd_per_gpu_hour: earned } = summary;
  return [
    ["Instances", states.join(", ") || "none"],
    ["Busy", percent(summary.busy)],
    ["Waiting", `${summary.waiting} shards, ${duration(summary.waiting_seconds)}`],
    ["Oldest wait", duration(summary.oldest_wait_seconds)],
    ["Failures, last hour", String(failures), failures ? "bad" : ""],
    ["Per GPU hour", earned === null ? "–" : dollars(Number(earned.toFixed(2)))],
  ];
}

/**
 * Return the card of an instance; add it if it is new.
 * @param {string} id
 */
function cardOf(id) {
  const existing = cards.get(id);
  if (existing) return existing;
  const card = new InstanceCard(id, actions);
  cards.set(id, card);
  wall.append(card.node);
  return card;
}

/**
 * @param {string} id
 * @param {InstanceCard} card
 */
function removeCard(id, card) {
  cards.delete(id);
  card.node.remove();
}

/** Bring the cards into order. Those that are in their place are not moved, so that the focus stays. */
function sortCards() {
  const rank = (/** @type {FleetInstance} */ one) => STATE_ORDER.indexOf(one.state);
  const sorted = [...instances.values()].sort((a, b) => rank(a) - rank(b) || a.id.localeCompare(b.id, "en", { numeric: true }));
  const active = document.activeElement;
  sorted.forEach(({ id }, index) => {
    const { node } = cardOf(id);
    if (wall.children[index] !== node) wall.insertBefore(node, wall.children[index]);
  });
  if (active instanceof HTMLElement && wall.contains(active)) active.focus({ preventScroll: true });
}

/**
 * @param {string} id
 * @param {InstanceAction} action
 */
async function runAction(id, action) {
  const questions = {
    drain: `Drain ${id}? It finishes what it runs and gets no new work.`,
    resume: `Resume ${id}? It gets new work again.`,
    restart: `Restart ${id} now? Its running shards are retried on other instances.`,
  };
  const verb = action.charAt(0).toUpperCase() + action.slice(1);
  const confirmed = await ask(questions[action], verb);
  cards.get(id)?.node.focus();
  if (confirmed) await api("POST", `admin/v1/instances/${encodeURIComponent(id)}/${action}`);
}

/**
 * @param {"drain" | "resume"} action
 * @param {string} question
 * @param {string} verb
 */
async function runForAll(action, question, verb) {
  if (!(await ask(question, verb))) return;
  /** @type {{ refused: Record<string, string> }} */
  const { refused } = await api("POST", `admin/v1/fleet/${action}`);
  const reasons = Object.entries(refused).map(([id, reason]) => `${id}: ${reason}`);
  byId("page-error").textContent = reasons.join("; ");
}

/** @param {string} id */
async function showLog(id) {
  const text = await api("GET", `admin/v1/instances/${encodeURIComponent(id)}/log`);
  byId("log-title").textContent = `Log of ${id}`;
  byId("log-text").textContent = text || "The log is empty.";
  log.showModal();
  byId("log-text").scrollTop = byId("log-text").scrollHeight;
}

/** Show the quarantined shards. The list is only rebuilt when it has changed, so that links keep the focus. */
async function showQuarantine() {
  /** @type {{ shards: QuarantinedShard[] }} */
  const { shards } = await api("GET", "admin/v1/quarantine");
  const ids = shards.map((shard) => shard.shard).join();
  const list = byId("quarantined");
  if (list.dataset.ids === ids) return;
  list.dataset.ids = ids;
  byId("quarantine").hidden = shards.length === 0;
  list.replaceChildren(...shards.map((shard) => quarantineCard(shard, (id) => void showErrors(forgetShard(id)))));
}

/** @param {string} id */
async function forgetShard(id) {
  if (!(await ask(`Delete ${id} and its graph? Its job stays failed.`, "Delete"))) return;
  await api("DELETE", `admin/v1/quarantine/${id}`);
  await showQuarantine();
}

/** Name the models that may not be sold. */
async function showLicenses() {
  /** @type {{ mode: string, models: { model: string, unaccepted: string[] }[] }} */
  const { mode, models } = await api("GET", "admin/v1/licenses");
  const names = models.filter((row) => row.unaccepted.length > 0).map((row) => row.model);
  const outcome = mode === "strict" ? "Paid requests for them are rejected" : "They are offered nevertheless";
  byId("licenses").hidden = names.length === 0;
  byId("licenses").textContent =
    `${names.length} models may not be sold without a license of their owner: ${names.join(", ")}. ` +
    `${outcome}; see pixelfactory licenses.`;
}

/** Look for quarantined shards now and then, while the page is visible. */
async function pollQuarantine() {
  // An outage is shown by the stream.
  if (!document.hidden) await showQuarantine().catch(() => request("GET", "/healthz").catch(() => {}));
  setTimeout(pollQuarantine, QUARANTINE_MS);
}

byId("close").addEventListener("click", () => log.close());
byId("drain-all").addEventListener("click", () => {
  const question = "Drain all instances? They finish what they run; everything else waits until you resume them.";
  showErrors(runForAll("drain", question, "Drain all"));
});
byId("resume-all").addEventListener("click", () => {
  showErrors(runForAll("resume", "Resume all drained instances?", "Resume all"));
});
handleKeys(wall, (id) => cards.get(id), actions);
document.addEventListener("visibilitychange", follow);
showErrors(showLicenses());
pollQuarantine();
follow();
