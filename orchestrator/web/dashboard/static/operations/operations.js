// The operations page: queue and instances, refreshed every two seconds, with the actions of an operator.

/** @import { Instance, QueueStatus } from "../types.d.ts" */
/** @import { QuarantinedShard } from "../types.d.ts" */
/** @import { InstanceAction } from "./instance-card.js" */

import { api, ApiError, signOut } from "../shared/api.js";
import { byId } from "../shared/dom.js";
import { InstanceCard } from "./instance-card.js";
import { quarantineCard } from "./quarantine-card.js";

const REFRESH_MS = 2000;

/** @type {Map<string, InstanceCard>} */
const cards = new Map();
const log = byId("log", HTMLDialogElement);

async function refresh() {
  /** @type {[{ instances: Instance[] }, QueueStatus, { shards: QuarantinedShard[] }]} */
  const [{ instances }, queue, quarantine] = await Promise.all([
    api("GET", "admin/v1/instances"),
    api("GET", "admin/v1/queue"),
    api("GET", "admin/v1/quarantine"),
  ]);
  byId("simulated").hidden = !instances.some((instance) => instance.simulated);
  byId("queued").textContent = queue.waiting === 1 ? "1 shard queued" : `${queue.waiting} shards queued`;
  const byModel = Object.entries(queue.by_model).map(([model, count]) => `${model} ${count}`);
  byId("queued-by-model").textContent = byModel.join(", ");
  for (const instance of instances) instanceCard(instance.id).update(instance);
  showQuarantine(quarantine.shards);
}

/**
 * Show the quarantined shards. The list is only rebuilt when it has changed, so that links keep the focus.
 * @param {QuarantinedShard[]} shards
 */
function showQuarantine(shards) {
  const ids = shards.map((shard) => shard.shard).join();
  const list = byId("quarantined");
  if (list.dataset.ids === ids) return;
  list.dataset.ids = ids;
  byId("quarantine").hidden = shards.length === 0;
  const forget = (/** @type {string} */ id) => showActionError(forgetShard(id));
  list.replaceChildren(...shards.map((shard) => quarantineCard(shard, forget)));
}

/** @param {string} id */
async function forgetShard(id) {
  if (!confirm(`Delete ${id} and its graph? Its job stays failed.`)) return;
  await api("DELETE", `admin/v1/quarantine/${id}`);
  await refresh();
}

/**
 * Return the card of an instance; add it if it is new.
 * @param {string} id
 */
function instanceCard(id) {
  const existing = cards.get(id);
  if (existing) return existing;
  const card = new InstanceCard(id, {
    run: (id, action) => showActionError(runAction(id, action)),
    showLog: (id) => showActionError(showLog(id)),
  });
  cards.set(id, card);
  byId("instances").append(card.node);
  return card;
}

/**
 * @param {string} id
 * @param {InstanceAction} action
 */
async function runAction(id, action) {
  const question = `Restart ${id} now? Its running shards are retried on other instances.`;
  if (action === "restart" && !confirm(question)) return;
  await api("POST", `admin/v1/instances/${id}/${action}`);
  await refresh();
}

/** @param {string} id */
async function showLog(id) {
  const text = await api("GET", `admin/v1/instances/${id}/log`);
  byId("log-title").textContent = `Log of ${id}`;
  byId("log-text").textContent = text || "The log is empty.";
  log.showModal();
  byId("log-text").scrollTop = byId("log-text").scrollHeight;
}

/**
 * Wait for an action, and show its error.
 * @param {Promise<void>} action
 */
async function showActionError(action) {
  byId("action-error").textContent = "";
  try {
    await action;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    byId("action-error").textContent = error.message;
  }
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

/** Refresh the page while it is visible, and schedule the next refresh. */
async function poll() {
  if (!document.hidden) {
    byId("refresh-error").textContent = await refresh().then(
      () => "",
      (error) => error.message,
    );
  }
  setTimeout(poll, REFRESH_MS);
}

byId("sign-out").addEventListener("click", signOut);
byId("close").addEventListener("click", () => log.close());
showActionError(showLicenses());
poll();
