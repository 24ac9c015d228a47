// Jobs of all accounts, with filters that are in the address of the page.

/** @import { OperatorJobRow } from "../operator-types.d.ts" */

import { dataTable, formQuery, jobLink, readQuery, showErrors } from "../operator/page.js";
import { api } from "../shared/api.js";
import { byId, el } from "../shared/dom.js";
import { dateTime, dollars } from "../shared/format.js";

const PAGE_SIZE = "50";
/** Instances of a job that are named. */
const MAX_INSTANCES = 2;
const COLUMNS = [
  { title: "Job" },
  { title: "Status" },
  { title: "Model" },
  { title: "Account" },
  { title: "Key" },
  { title: "Accepted" },
  { title: "Took", kind: "number" },
  { title: "Done", kind: "number" },
  { title: "Attempts", kind: "number" },
  { title: "Instances", kind: "roomy" },
  { title: "Charged", kind: "number" },
  { title: "Error", kind: "wrap" },
];
const form = byId("filters", HTMLFormElement);
/** @type {OperatorJobRow[]} */
let jobs = [];
/** @type {string | null} */
let cursor = null;

/**
 * Load the next page, or the first one.
 * @param {boolean} isFirst
 */
async function load(isFirst) {
  const query = new URLSearchParams({ ...formQuery(form), limit: PAGE_SIZE });
  if (!isFirst && cursor !== null) query.set("cursor", cursor);
  /** @type {{ jobs: OperatorJobRow[], next_cursor: string | null }} */
  const page = await api("GET", `admin/v1/jobs?${query}`);
  jobs = isFirst ? page.jobs : [...jobs, ...page.jobs];
  cursor = page.next_cursor;
  byId("more").hidden = cursor === null;
  const caption = jobs.length === 0 ? "No job is like that." : `${jobs.length} jobs, newest first`;
  byId("rows").replaceChildren(dataTable(caption, COLUMNS, jobs.map(toCells)));
}

/** @param {OperatorJobRow} job */
function toCells(job) {
  const seconds = job.finished_at === null ? null : (Date.parse(job.finished_at) - Date.parse(job.created_at)) / 1000;
  return [
    jobLink(job.id, `${job.id.slice(0, 12)}…`),
    el("span", { className: `tag ${job.status}`, textContent: job.status + (job.removed ? ", removed" : "") }),
    job.model,
    filterLink("account", job.account, job.account_name || job.account),
    filterLink("key", job.key, job.key_name || job.key),
    el("time", { dateTime: job.created_at, textContent: dateTime(job.created_at) }),
    seconds === null ? "–" : `${seconds.toFixed(1)} s`,
    `${job.shards_done}/${job.shards}`,
    String(job.attempts),
    instanceLinks(job.instances),
    dollars(job.charged_usd),
    job.error_code === null ? "" : el("span", { title: job.error_message ?? "", textContent: job.error_code }),
  ];
}

/**
 * Name the instances that ran a job: the first ones, and how many more.
 * @param {string[]} instances
 */
function instanceLinks(instances) {
  if (!instances.length) return "–";
  const shown = instances.slice(0, MAX_INSTANCES).flatMap((id) => [" ", filterLink("instance", id, id)]).slice(1);
  const more = instances.length - MAX_INSTANCES;
  if (more > 0) shown.push(` + ${more}`);
  return el("span", { title: instances.join(", ") }, ...shown);
}

/**
 * @param {string} name
 * @param {string} value
 * @param {string} text
 */
function filterLink(name, value, text) {
  return el("a", { href: `/operations/jobs?${new URLSearchParams({ [name]: value })}`, textContent: text });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  history.replaceState(null, "", `/operations/jobs?${new URLSearchParams(formQuery(form))}`);
  showErrors(load(true));
});
byId("clear").addEventListener("click", () => location.assign("/operations/jobs"));
byId("find", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  const id = byId("job-id", HTMLInputElement).value.trim();
  if (id) location.assign(`/operations/job?id=${encodeURIComponent(id)}`);
});
byId("more").addEventListener("click", () => showErrors(load(false)));
readQuery(form);
showErrors(load(true));
