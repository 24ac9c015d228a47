// What waits, by model, account and priority.

/** @import { QueueGroup, QueueReport } from "../operator-types.d.ts" */

import { dataTable, duration, keepCurrent } from "../operator/page.js";
import { api } from "../shared/api.js";
import { byId, el } from "../shared/dom.js";

const REFRESH_MS = 3000;

async function refresh() {
  /** @type {QueueReport} */
  const queue = await api("GET", "admin/v1/queue");
  byId("queued").textContent = queue.waiting === 1 ? "1 shard waits" : `${queue.waiting} shards wait`;
  byId("groups").replaceChildren(
    groupTable("By model", "Model", queue.models, (group) => jobsLink("model", group.id, group.id)),
    groupTable("By account", "Account", queue.accounts, (group) => jobsLink("account", group.id, group.name || group.id)),
    groupTable("By priority", "Share of the fleet", queue.priorities, (group) => `weight ${group.id}`),
  );
}

/**
 * @param {string} filter
 * @param {string} id
 * @param {string} text
 */
function jobsLink(filter, id, text) {
  const query = new URLSearchParams({ status: "unfinished", [filter]: id });
  return el("a", { href: `/operations/jobs?${query}`, textContent: text });
}

/**
 * @param {string} caption
 * @param {string} title
 * @param {QueueGroup[]} groups
 * @param {(group: QueueGroup) => Node | string} name
 */
function groupTable(caption, title, groups, name) {
  if (!groups.length) return el("p", { className: "hint", textContent: `${caption}: nothing waits.` });
  const columns = ["Waiting", "Running", "Oldest", "Work", "A new one starts in"].map((one) => ({ title: one, kind: "number" }));
  const rows = groups.map((group) => [
    name(group),
    String(group.waiting),
    group.running === null ? "–" : String(group.running),
    duration(group.oldest_seconds),
    duration(group.work_seconds),
    group.wait_seconds === null ? "no instance can run it" : duration(group.wait_seconds),
  ]);
  return el("div", { className: "scroll" }, dataTable(caption, [{ title }, ...columns], rows));
}

keepCurrent(refresh, REFRESH_MS);
