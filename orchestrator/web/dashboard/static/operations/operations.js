// Instances and queue, looked at every other second, and what an operator may do to them.

import { api, signOut } from "./api.js";
import { byId, definitions, el } from "./dom.js";
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
    const foot = el("div", { className: "row" }, ...this.buttons, log);
    this.node = el("li", { className: "panel" }, head, this.detail, this.facts, foot);
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
    this.facts.replaceChildren(...definitions(factsOf(row)));
  }
}

function work({ model, state, attempt }) {
  return attempt > 1 ? `${model}, ${state}, attempt ${attempt}` : `${model}, ${state}`;
}

// What the card's own sensors say, as far as they say anything.
function gpu({ utilisation, temperature, power }) {
  const readings = [[utilisation === null ? null : utilisation * 100, "%"], [temperature, "°C"], [power, "W"]];
  const known = readings.filter(([value]) => value !== null);
  return known.map(([value, unit]) => `${Math.round(value)} ${unit}`).join(", ");
}

function memory({ vram_used: used, vram_total: total }) {
  return used === null ? "unknown" : `${gibibytes(used)} of ${gibibytes(total)}`;
}

function factsOf(row) {
  const facts = [
    ["Device", row.device + (row.adopted ? ", adopted" : "")],
    ["Busy, last minute", `${Math.round(row.busy * 100)} %`],
    ["Work", row.shards.map(work).join("; ") || "none"],
    ["Models held", row.models_held.join(", ") || "none"],
    ["GPU memory", memory(row)],
    ["GPU", gpu(row)],
    ["Version", row.version ?? "unknown"],
    ["Restarts", row.restarts],
  ];
  return facts.filter(([, fact]) => fact !== "");
}

async function refresh() {
  const asked = [api("GET", "admin/v1/instances"), api("GET", "admin/v1/queue")];
  const [{ instances }, queue] = await Promise.all(asked);
  byId("simulated").hidden = !instances.some((row) => row.simulated);
  byId("waiting").textContent = queue.waiting === 1 ? "1 shard waits" : `${queue.waiting} shards wait`;
  const waiting = Object.entries(queue.by_model).map(([model, count]) => `${model} ${count}`);
  byId("by-model").textContent = waiting.join(", ");
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
