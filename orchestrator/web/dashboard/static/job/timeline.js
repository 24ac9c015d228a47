// The timeline of a job: a row per shard, and in it what every attempt spent its time with.

/** @import { JobAttempt, OperatorJob } from "../operator-types.d.ts" */

import { duration } from "../operator/page.js";
import { svg } from "../operator/svg.js";

const WIDTH = 1000;
const ROW = 26;
const LABEL = 170;

/**
 * Draw the timeline of a job.
 * @param {OperatorJob} job
 */
export function timeline(job) {
  const start = Date.parse(job.created_at);
  const ends = job.parts.flatMap((part) => part.attempts.map((attempt) => Date.parse(attempt.ended_at ?? "") || Date.now()));
  const end = Math.max(start + 100, ...ends, Date.parse(job.finished_at ?? "") || 0);
  const place = (/** @type {number} */ at) => LABEL + ((WIDTH - LABEL) * (at - start)) / (end - start);
  const rows = job.parts.flatMap((part) => part.attempts.map((attempt) => ({ part, attempt })));
  const height = ROW * Math.max(rows.length, 1) + 20;
  const drawn = rows.flatMap(({ part, attempt }, index) => {
    const label = `${part.id.slice(part.id.lastIndexOf("-") + 1)}.${attempt.number} ${attempt.instance}`;
    const y = index * ROW;
    return [svg("text", { x: 0, y: y + 16 }, label), ...spansOf(attempt).map((span) => bar(span, y, place))];
  });
  const total = duration((end - start) / 1000);
  return svg(
    "svg",
    { class: "timeline", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": `${rows.length} attempts within ${total}` },
    ...drawn,
    svg("text", { x: LABEL, y: height - 5 }, "0"),
    svg("text", { x: WIDTH, y: height - 5, "text-anchor": "end" }, total),
  );
}

/** @typedef {{ name: string, from: number, until: number }} Span */

/**
 * Return what an attempt spent its time with, in order.
 * @param {JobAttempt} attempt
 * @returns {Span[]}
 */
function spansOf(attempt) {
  const started = Date.parse(attempt.started_at);
  const ended = attempt.ended_at === null ? Date.now() : Date.parse(attempt.ended_at);
  const waiting = { name: "waiting", from: started - 1000 * attempt.wait_seconds, until: started };
  if (attempt.run_started_at === null || attempt.run_ended_at === null) {
    return [waiting, { name: attempt.outcome === null ? "busy" : "down", from: started, until: ended }];
  }
  const [runs, stores] = [Date.parse(attempt.run_started_at), Date.parse(attempt.run_ended_at)];
  const loaded = Math.min(runs + 1000 * (attempt.load_seconds ?? 0), stores);
  return [
    waiting,
    { name: "prepare", from: started, until: runs },
    { name: "loading", from: runs, until: loaded },
    { name: "busy", from: loaded, until: stores },
    { name: "storing", from: stores, until: ended },
  ];
}

/**
 * @param {Span} span
 * @param {number} y
 * @param {(at: number) => number} place
 */
function bar({ name, from, until }, y, place) {
  const x = place(from);
  const width = Math.max(0, place(until) - x);
  const title = svg("title", {}, `${name}: ${duration((until - from) / 1000)}`);
  return svg("rect", { class: name, x, y: y + 4, width: from < until ? Math.max(width, 1) : 0, height: ROW - 10 }, title);
}
