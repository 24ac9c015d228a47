// A card with the state of one instance and the actions on it.

/** @import { AssignedShard, Instance } from "../types.d.ts" */

import { button, definitions, el } from "../shared/dom.js";
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
    this.state = el("span", { className: "state" });
    this.error = el("p", { className: "error" });
    this.details = el("dl");
    this.drain = button("Drain", () => actions.run(id, "drain"));
    this.resume = button("Resume", () => actions.run(id, "resume"));
    this.restart = button("Restart", () => actions.run(id, "restart"));
    const log = button("Log", () => actions.showLog(id), "quiet");
    const header = el("div", { className: "row" }, el("h2", { textContent: id }), this.state);
    const footer = el("div", { className: "row" }, this.drain, this.resume, this.restart, log);
    this.node = el("li", { className: "panel" }, header, this.error, this.details, footer);
  }

  /** @param {Instance} instance */
  update(instance) {
    this.state.textContent = instance.state + (instance.since ? ` for ${elapsed(instance.since)}` : "");
    this.state.dataset.state = instance.state;
    this.error.textContent = instance.detail ?? "";
    this.drain.disabled = instance.state !== "ready";
    this.resume.disabled = instance.state !== "draining" && instance.state !== "drained";
    // The service did not start an adopted instance and cannot restart it.
    this.restart.disabled = instance.adopted;
    this.details.replaceChildren(...definitions(instanceDetails(instance)));
  }
}

/** @param {Instance} instance */
function instanceDetails(instance) {
  /** @type {[string, string][]} */
  const details = [
    ["Device", instance.device + (instance.adopted ? ", adopted" : "")],
    ["Busy, last minute", `${Math.round(instance.busy * 100)} %`],
    ["Shards", instance.shards.map(shardText).join("; ") || "none"],
    ["Loaded models", instance.models_held.join(", ") || "none"],
    ["GPU memory", gpuMemory(instance)],
    ["GPU", gpuReadings(instance)],
    ["Version", instance.version ?? "unknown"],
    ["Results", deliveryText(instance)],
    ["Restarts", String(instance.restarts)],
  ];
  return details.filter(([, text]) => text !== "");
}

/** @param {AssignedShard} shard */
function shardText({ model, state, attempt }) {
  return attempt > 1 ? `${model}, ${state}, attempt ${attempt}` : `${model}, ${state}`;
}

/** @param {Instance} instance */
function deliveryText({ delivery, delivery_detail: reason }) {
  if (delivery === null) return "";
  if (delivery === "direct") return "stored by the instance";
  return `through the service: ${reason}`;
}

/** @param {Instance} instance */
function gpuMemory({ vram_used: used, vram_total: total }) {
  return used === null || total === null ? "unknown" : `${gibibytes(used)} of ${gibibytes(total)}`;
}

/**
 * Return utilization, temperature and power, as far as the driver reports them.
 * @param {Instance} instance
 */
function gpuReadings({ utilisation, temperature, power }) {
  const readings = [];
  if (utilisation !== null) readings.push(`${Math.round(utilisation * 100)} %`);
  if (temperature !== null) readings.push(`${Math.round(temperature)} °C`);
  if (power !== null) readings.push(`${Math.round(power)} W`);
  return readings.join(", ");
}
