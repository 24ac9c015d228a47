// Attempts that failed, latest first.

/** @import { FailedAttempt } from "../operator-types.d.ts" */

import { jobLink, keepCurrent, showErrors } from "../operator/page.js";
import { api } from "../shared/api.js";
import { byId, el } from "../shared/dom.js";
import { elapsed } from "../shared/format.js";

const REFRESH_MS = 5000;
const PAGE_SIZE = "30";
/** @type {FailedAttempt[]} */
let older = [];
/** @type {string | null} */
let cursor = null;
let hasOlder = false;

/** Load the latest failures; those of further pages stay. */
async function refresh() {
  const page = await load(null);
  const latest = page.failures;
  const last = latest.at(-1);
  older = older.filter((one) => last !== undefined && one.at < last.at);
  if (!hasOlder) cursor = page.next_cursor;
  show([...latest, ...older]);
}

async function loadMore() {
  hasOlder = true;
  const page = await load(cursor);
  older = [...older, ...page.failures];
  cursor = page.next_cursor;
  await refresh();
}

/**
 * @param {string | null} after
 * @returns {Promise<{ failures: FailedAttempt[], next_cursor: string | null }>}
 */
const load = (after) =>
  api("GET", `admin/v1/failures?${new URLSearchParams({ limit: PAGE_SIZE, ...(after && { cursor: after }) })}`);

/** @param {FailedAttempt[]} failures */
function show(failures) {
  byId("none").hidden = failures.length > 0;
  byId("more").hidden = cursor === null;
  const feed = byId("feed");
  // Only what is new is added, so that links keep the focus.
  const keys = failures.map((one) => `${one.at} ${one.job} ${one.attempt} ${one.job_status}`);
  if (feed.dataset.keys === keys.join()) return;
  feed.dataset.keys = keys.join();
  feed.replaceChildren(...failures.map(toItem));
}

/** @param {FailedAttempt} failure */
function toItem(failure) {
  const status = el("span", { className: `tag ${failure.job_status}`, textContent: `job ${failure.job_status}` });
  const where = `${failure.model} on ${failure.instance}, attempt ${failure.attempt}, for ${failure.account_name || failure.account}`;
  const head = el(
    "div",
    { className: "row" },
    el("strong", { textContent: failure.kind }),
    jobLink(failure.job, `${failure.job.slice(0, 12)}…`),
    status,
    el("time", { dateTime: failure.at, className: "hint", textContent: `${elapsed(failure.at)} ago` }),
  );
  const detail = failure.detail === null ? "" : el("p", { className: "detail", textContent: failure.detail });
  return el("li", {}, head, el("p", { textContent: failure.reason }), el("p", { className: "hint", textContent: where }), detail);
}

byId("more").addEventListener("click", () => showErrors(loadMore()));
keepCurrent(refresh, REFRESH_MS);
