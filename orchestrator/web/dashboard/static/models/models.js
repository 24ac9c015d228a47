// How the models do, and where they can run.

/** @import { ModelHealth, ModelHealthDetails } from "../operator-types.d.ts" */

import { dataTable, duration, jobLink, keepCurrent, percent, showErrors } from "../operator/page.js";
import { api } from "../shared/api.js";
import { button, byId, definitions, el } from "../shared/dom.js";
import { dateTime } from "../shared/format.js";

const REFRESH_MS = 10_000;
const COLUMNS = [
  { title: "Model" },
  { title: "State" },
  { title: "Success", kind: "number" },
  { title: "Jobs", kind: "number" },
  { title: "Waiting", kind: "number" },
  { title: "Run: learned", kind: "number" },
  { title: "manifest", kind: "number" },
  { title: "Load: learned", kind: "number" },
  { title: "manifest", kind: "number" },
  { title: "Instances", kind: "number" },
  { title: "Loaded on", kind: "wrap" },
];
const dialog = byId("details", HTMLDialogElement);
const search = byId("search", HTMLInputElement);
/** @type {ModelHealth[]} */
let models = [];

async function refresh() {
  /** @type {{ latest_jobs: number, models: ModelHealth[] }} */
  const found = await api("GET", "admin/v1/health/models");
  byId("counted").textContent = `Outcomes are those of the latest ${found.latest_jobs} jobs; times are of a default request.`;
  models = found.models;
  // A table that is rebuilt loses the focus of its buttons.
  if (!byId("rows").contains(document.activeElement)) showRows();
}

function showRows() {
  const text = search.value.trim().toLowerCase();
  const shown = models.filter((model) => `${model.id} ${model.name} ${model.type} ${model.state}`.toLowerCase().includes(text));
  byId("rows").replaceChildren(dataTable(`${shown.length} models`, COLUMNS, shown.map(toCells)));
}

/** @param {ModelHealth} model */
function toCells(model) {
  return [
    button(model.id, () => void showErrors(showDetails(model.id)), "link"),
    el("span", { className: `tag ${model.state}`, textContent: model.state }),
    percent(model.success_rate),
    String(model.succeeded + model.failed + model.cancelled),
    String(model.waiting),
    duration(model.run_seconds_learned),
    duration(model.run_seconds_manifest),
    duration(model.load_seconds_learned),
    duration(model.load_seconds_manifest),
    String(model.served_by.length),
    model.loaded_on.join(", "),
  ];
}

/** @param {string} id */
async function showDetails(id) {
  /** @type {ModelHealthDetails} */
  const model = await api("GET", `admin/v1/health/models/${encodeURIComponent(id)}`);
  byId("details-title").textContent = `${model.name} (${model.id})`;
  const facts = el("dl");
  facts.replaceChildren(
    ...definitions([
      ["Version", model.version.slice(0, 16)],
      ["Latest jobs", `${model.succeeded} succeeded, ${model.failed} failed, ${model.cancelled} cancelled`],
      ["Measured runs", String(model.measured_runs)],
    ]),
  );
  const instances = model.instances.map((one) => [one.instance, one.can_run ? "yes" : "no", one.reasons.join("; ")]);
  const failures = model.failures.map((one) => [
    jobLink(one.job, `${one.job.slice(0, 12)}…`),
    one.at === null ? "" : dateTime(one.at),
    `${one.message} (${one.code})`,
  ]);
  const where = [{ title: "Instance" }, { title: "Can run it" }, { title: "Why not", kind: "wrap" }];
  const what = [{ title: "Job" }, { title: "When" }, { title: "Error", kind: "wrap" }];
  byId("details-body").replaceChildren(
    facts,
    dataTable("Instances", where, instances),
    failures.length ? dataTable("Last failures", what, failures) : el("p", { className: "hint", textContent: "No job of it has failed." }),
  );
  dialog.showModal();
}

search.addEventListener("input", showRows);
byId("close").addEventListener("click", () => dialog.close());
keepCurrent(refresh, REFRESH_MS);
