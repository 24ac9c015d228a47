// Instances and queue, looked at every other second, and what an operator may do to them.

import { api, signOut } from "./api.js";
import { byId, el } from "./dom.js";
import { gibibytes, since } from "./format.js";

const PERIOD_MS = 2000;
const VERBS = { drain: "Drain", resume: "Resume", restart: "Restart" };

const cards = new Map();

// One instance; made once and then only changed, so that nobody loses a focused button.
class Card {
  constructor(id) {
    this.id = id;
    this.state = el("span", { className: "state" });
    this.detail = el("p", { className: "refusal" });
    this.facts = el("dl");
    this.buttons = Object.entries(VERBS).map(([verb, text]) => this.#button(verb, text));
    const log = el("button", { type: "button", className: "quiet", textContent: "Log" });
    log.addEventListener("click", () => showLog(id));
    const head = el("div", { className: "row" }, el("h2", { textContent: id }), this.state);
    this.node = el("li", { className: "panel" }, head, this.detail, this.facts, el("div", { className: "row" }, ...this.buttons, log));
  }

  #button(verb, text) {
    const button = el("button", { type: "button", value: verb, textContent: text });
    button.addEventListener("click", () => change(this.id, verb));
    return button;
  }

  update(row) {
    this.state.textContent = row.state + (row.since ? ` for ${since(row.since)}` : "");
    this.state.dataset.state = row.state;
    this.detail.textContent = row.detail ?? "";
    const drained = row.state === "draining";
    const unfit = { drain: row.state !== "ready", resume: !drained, restart: row.adopted };
    for (const button of this.buttons) button.disabled = unfit[button.value];
    const facts = Object.entries(factsOf(row));
    this.facts.replaceChildren(...facts.flatMap(([term, fact]) => [el("dt", { textContent: term }), el("dd", { textContent: fact })]));
  }
}

const given = (value, unit) => (value === null ? [] : [`${Math.round(value)} ${unit}`]);

function factsOf(row) {
  const shards = row.shards.map((shard) => `${shard.model}, ${shard.state}` + (shard.attempt > 1 ? `, attempt ${shard.attempt}` : ""));
  const gpu = [...given(row.utilisation && row.utilisation * 100, "%"), ...given(row.temperature, "°C"), ...given(row.power, "W")];
  return {
    Device: row.device + (row.adopted ? ", adopted" : ""),
    "Busy, last minute": `${Math.round(row.busy * 100)} %`,
    Work: shards.join("; ") || "none",
    "Models held": row.models_held.join(", ") || "none",
    "GPU memory": row.vram_used === null ? "unknown" : `${gibibytes(row.vram_used)} of ${gibibytes(row.vram_total)}`,
    ...(gpu.length && { GPU: gpu.join(", ") }),
    Version: row.version ?? "unknown",
    Restarts: row.restarts,
  };
}

async function refresh() {
  const [{ instances }, queue] = await Promise.all([api("GET", "admin/v1/instances"), api("GET", "admin/v1/queue")]);
  byId("simulated").hidden = !instances.some((row) => row.simulated);
  byId("waiting").textContent = queue.waiting === 1 ? "1 shard waits" : `${queue.waiting} shards wait`;
  byId("by-model").textContent = Object.entries(queue.by_model).map(([model, count]) => `${model} ${count}`).join(", ");
  for (const row of instances) {
    if (!cards.has(row.id)) {
      cards.set(row.id, new Card(row.id));
      byId("instances").append(cards.get(row.id).node);
    }
    cards.get(row.id).update(row);
  }
}

async function change(id, verb) {
  if (verb === "restart" && !confirm(`Restart ${id} now? What it runs is tried again elsewhere.`)) return;
  byId("refusal").textContent = "";
  try {
    await api("POST", `admin/v1/instances/${id}/${verb}`);
    await refresh();
  } catch (refused) {
    byId("refusal").textContent = refused.message;
  }
}

async function showLog(id) {
  byId("log-title").textContent = `Log of ${id}`;
  byId("lines").textContent = (await api("GET", `admin/v1/instances/${id}/log`)) || "It has printed nothing.";
  byId("log").showModal();
  byId("lines").scrollTop = byId("lines").scrollHeight;
}

async function watch() {
  if (!document.hidden) {
    const trouble = await refresh().then(() => "", (refused) => refused.message);
    byId("trouble").textContent = trouble;
  }
  setTimeout(watch, PERIOD_MS);
}

byId("sign-out").addEventListener("click", signOut);
byId("close").addEventListener("click", () => byId("log").close());
watch();
