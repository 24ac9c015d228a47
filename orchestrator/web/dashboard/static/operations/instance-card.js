// A card with the state of one instance, what it did in the last hour, and the actions on it.

/** @import { FleetInstance, FleetShard } from "../operator-types.d.ts" */

import { duration, jobLink, percent } from "../operator/page.js";
import { historyStrip } from "../operator/svg.js";
import { button, el } from "../shared/dom.js";
import { elapsed, gibibytes } from "../shared/format.js";

/** @typedef {"drain" | "resume" | "restart"} InstanceAction */

/**
 * @typedef {object} CardActions
 * @property {(id: string, action: InstanceAction) => void} run
 * @property {(id: string) => void} showLog
 */

/** A card is created once and updated in place, so that its buttons keep the focus. */
export class InstanceCard {
  /**
   * @param {string} id
   * @param {CardActions} actions
   */
  constructor(id, actions) {
    this.id = id;
    this.history = "";
    this.state = el("span", { className: "state" });
    this.error = el("p", { className: "error" });
    this.work = el("div", { className: "work" });
    this.strip = el("div");
    this.readings = el("p", { className: "readings" });
    this.drain = button("Drain", () => actions.run(id, "drain"));
    this.resume = button("Resume", () => actions.run(id, "resume"));
    this.restart = button("Restart", () => actions.run(id, "restart"));
    const log = button("Log", () => actions.showLog(id), "quiet");
    const header = el("div", { className: "row" }, el("h2", { textContent: id }), this.state);
    const footer = el("div", { className: "row" }, this.drain, this.resume, this.restart, log);
    this.node = el("li", { tabIndex: 0 }, header, this.error, this.work, this.strip, this.readings, footer);
    this.node.dataset.id = id;
  }

  /**
   * @param {FleetInstance} instance
   * @param {Record<string, string>} accountNames
   */
  update(instance, accountNames) {
    this.instance = instance;
    this.node.dataset.state = instance.state;
    this.state.textContent = instance.state + (instance.since ? ` for ${elapsed(instance.since)}` : "");
    this.state.dataset.state = instance.state;
    this.error.textContent = [instance.detail, retryText(instance.retry_at)].filter(Boolean).join("; ");
    this.drain.disabled = !this.can("drain");
    this.resume.disabled = !this.can("resume");
    this.restart.disabled = !this.can("restart");
    this.work.replaceChildren(...workOf(instance, accountNames));
    if (this.history !== instance.history) {
      this.history = instance.history;
      this.strip.replaceChildren(historyStrip(instance.history));
    }
    this.readings.textContent = readingsOf(instance);
  }

  /**
   * Whether an action is possible now.
   * @param {InstanceAction} action
   */
  can(action) {
    const { state = "", adopted = false } = this.instance ?? {};
    const isDrained = state === "draining" || state === "drained";
    // The service did not start an adopted instance and cannot restart it.
    if (action === "restart") return !adopted;
    return action === "resume" ? isDrained : !isDrained;
  }
}

/** @param {string | null} retryAt */
function retryText(retryAt) {
  if (retryAt === null) return "";
  const seconds = (Date.parse(retryAt) - Date.now()) / 1000;
  return seconds > 1 ? `tried again in ${duration(seconds)}` : "tried again now";
}

/**
 * @param {FleetInstance} instance
 * @param {Record<string, string>} names
 */
function workOf(instance, names) {
  if (!instance.shards.length) {
    const resting = instance.state === "ready" ? "idle" : "runs nothing";
    const text = instance.warming ? `loads ${instance.warming} ahead of requests` : resting;
    return [el("p", { className: "hint", textContent: text })];
  }
  return instance.shards.flatMap((shard) => shardLines(shard, names));
}

/**
 * @param {FleetShard} shard
 * @param {Record<string, string>} names
 */
function shardLines(shard, names) {
  const account = names[shard.account] || shard.account;
  const again = shard.attempt > 1 ? `, attempt ${shard.attempt}` : "";
  if (shard.state === "waiting") {
    return [el("p", { className: "hint" }, "next: ", jobLink(shard.job, shard.model), ` for ${account}${again}`)];
  }
  const step = shard.steps === null ? duration(shard.age_seconds) : `step ${shard.step} of ${shard.steps}`;
  const line = el("p", {}, jobLink(shard.job, shard.model), ` for ${account}, ${step}${again}`);
  const bar = el("progress", { max: 1, value: shard.progress ?? 0, ariaLabel: `Progress of ${shard.model}` });
  return [line, bar];
}

/** @param {FleetInstance} instance */
function readingsOf(instance) {
  const { vram_used: used, vram_total: total } = instance;
  const readings = [instance.device + (instance.adopted ? ", adopted" : ""), `${percent(instance.busy)} busy`];
  if (used !== null && total !== null) readings.push(`${gibibytes(used)} of ${gibibytes(total)}`);
  if (instance.temperature !== null) readings.push(`${Math.round(instance.temperature)} °C`);
  if (instance.power !== null) readings.push(`${Math.round(instance.power)} W`);
  if (instance.models_held.length) readings.push(`holds ${instance.models_held.join(", ")}`);
  if (instance.delivery !== null && instance.delivery !== "direct") {
    readings.push(`results pass through the service: ${instance.delivery_detail}`);
  }
  if (instance.restarts) readings.push(instance.restarts === 1 ? "1 restart" : `${instance.restarts} restarts`);
  return readings.join(" · ");
}
