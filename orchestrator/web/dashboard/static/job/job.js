// The page of one job: what happened to it, why, and what an operator can do about it.

/** @import { JobAttempt, JobPart, OperatorJob } from "../operator-types.d.ts" */

import { ask, duration, figures, jobLink, showErrors } from "../operator/page.js";
import { api } from "../shared/api.js";
import { button, byId, definitions, el } from "../shared/dom.js";
import { dateTime, dollars, signedDollars } from "../shared/format.js";
import { timeline } from "./timeline.js";

const REFRESH_MS = 2000;
/** Milliseconds of the log before and after an attempt. */
const LOG_MARGIN_MS = 2000;
const id = new URLSearchParams(location.search).get("id") ?? "";
const path = `admin/v1/jobs/${encodeURIComponent(id)}`;

async function load() {
  /** @type {OperatorJob} */
  const job = await api("GET", path);
  show(job);
  if (job.finished_at === null) setTimeout(() => void showErrors(load()), REFRESH_MS);
}

/** @param {OperatorJob} job */
function show(job) {
  document.title = `${job.id} · Pixel Factory`;
  byId("job-title").textContent = job.id;
  byId("failure").hidden = job.error_code === null;
  byId("failure").textContent = job.error_code === null ? "" : `${job.error_message} (${job.error_code})`;
  byId("facts").replaceChildren(...figures(factsOf(job)));
  byId("actions").replaceChildren(...actionsOf(job));
  byId("timeline").replaceChildren(timeline(job));
  const attempts = job.parts.flatMap((part) => part.attempts.map((attempt) => attemptPanel(part, attempt)));
  byId("attempts").replaceChildren(...attempts);
  const shown = Object.entries(job.parameters).map(([name, value]) => /** @type {[string, string]} */ ([name, textOf(value)]));
  byId("parameters").replaceChildren(...definitions(shown));
}

/**
 * @param {OperatorJob} job
 * @returns {[string, Node | string, string?][]}
 */
function factsOf(job) {
  const { margin } = job;
  const took = job.finished_at === null ? "–" : duration((Date.parse(job.finished_at) - Date.parse(job.created_at)) / 1000);
  const account = el("a", {
    href: `/operations/jobs?${new URLSearchParams({ account: job.account })}`,
    textContent: job.account_name || job.account,
  });
  /** @type {[string, Node | string, string?][]} */
  const facts = [
    ["Status", el("span", { className: `tag ${job.status}`, textContent: job.status })],
    ["Model", job.requested_model ? `${job.model} (as ${job.requested_model})` : job.model, "small"],
    ["Account", account, "small"],
    ["Key", job.key_name || job.key, "small"],
    ["Accepted", dateTime(job.created_at), "small"],
    ["Took", took],
    ["Price", dollars(job.price_usd)],
    ["Charged", dollars(margin.revenue_usd)],
    ["Cost", dollars(margin.cost_usd)],
    ["Margin", signedDollars(margin.margin_usd), margin.margin_usd < 0 ? "bad" : ""],
  ];
  if (job.origin !== null) facts.push(["Request", job.origin, "small"]);
  if (job.webhook_host !== null) facts.push(["Webhook", job.webhook_host, "small"]);
  if (job.warnings.length) facts.push(["Warnings", job.warnings.join(" "), "small"]);
  return facts;
}

/** @param {OperatorJob} job */
function actionsOf(job) {
  const actions = [];
  if (job.can_cancel) {
    const question = "Cancel this job? Its caller is not charged.";
    actions.push(button("Cancel job", () => void showErrors(act("cancel", question, "Cancel job"))));
  }
  if (job.can_retry) {
    const question = `Repeat this request as a new job? ${job.account_name || job.account} pays ${dollars(job.price_usd)} if it succeeds.`;
    actions.push(button("Retry", () => void showErrors(retry(question)), "primary"));
  }
  if (job.can_refund) {
    const question = `Refund ${dollars(job.charged_usd)} to ${job.account_name || job.account}?`;
    actions.push(button("Refund", () => void showErrors(act("refund", question, "Refund", { reference: "operator" }))));
  }
  return actions;
}

/**
 * @param {string} verb
 * @param {string} question
 * @param {string} confirm
 * @param {object} [body]
 */
async function act(verb, question, confirm, body) {
  if (!(await ask(question, confirm))) return;
  await api("POST", `${path}/${verb}`, { body });
  await load();
}

/** @param {string} question */
async function retry(question) {
  if (!(await ask(question, "Retry"))) return;
  /** @type {OperatorJob} */
  const job = await api("POST", `${path}/retry`);
  byId("actions").replaceChildren(el("p", { role: "status" }, "The new job is ", jobLink(job.id)));
}

/**
 * @param {JobPart} part
 * @param {JobAttempt} attempt
 */
function attemptPanel(part, attempt) {
  const index = part.id.slice(part.id.lastIndexOf("-") + 1);
  const title = `Result ${index}, attempt ${attempt.number} on ${attempt.instance}`;
  /** @type {[string, string][]} */
  const times = [
    ["waited", duration(attempt.wait_seconds)],
    ["upload and turn", duration(attempt.prepare_seconds)],
    ["loading", duration(attempt.load_seconds)],
    ["running", duration(attempt.run_seconds)],
    ["storing", duration(attempt.store_seconds)],
  ];
  const words = times.filter(([, text]) => text !== "–").map(([name, text]) => `${name} ${text}`);
  const className = attempt.outcome === null || attempt.outcome === "ok" ? "" : "error";
  const graph = el("a", {
    href: `/dashboard/api/${path}/graph?shard=${index}`,
    download: `${part.id}.json`,
    textContent: "Download graph",
  });
  const log = button("Log around it", () => void showErrors(showLog(attempt)));
  return el(
    "div",
    { className: "panel" },
    el("h2", { textContent: title }),
    el("p", { className, textContent: attempt.reason }),
    attempt.detail === null ? "" : el("code", { textContent: attempt.detail }),
    el("p", { className: "hint", textContent: `Seed ${part.seed ?? "–"}; ${words.join(", ")}` }),
    el("div", { className: "row" }, graph, log),
  );
}

/** @param {JobAttempt} attempt */
async function showLog(attempt) {
  const since = new Date(Date.parse(attempt.started_at) - LOG_MARGIN_MS).toISOString();
  const ended = attempt.ended_at === null ? Date.now() : Date.parse(attempt.ended_at);
  const query = new URLSearchParams({ since, until: new Date(ended + LOG_MARGIN_MS).toISOString(), limit: "500" });
  const text = await api("GET", `admin/v1/instances/${encodeURIComponent(attempt.instance)}/log?${query}`);
  byId("log-section").hidden = false;
  byId("log-title").textContent = `Log of ${attempt.instance} around attempt ${attempt.number} (UTC)`;
  byId("log-text").textContent = text || "The log has no lines of that time. It keeps the last 2000 lines.";
  byId("log-text").focus();
}

/** @param {unknown} value */
const textOf = (value) => (typeof value === "string" ? value : JSON.stringify(value));

showErrors(load());
