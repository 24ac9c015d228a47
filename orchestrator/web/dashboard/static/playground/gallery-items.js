// What the gallery shows of a job: a tile for each output, for each unfinished shard, or for its failure.

/** @import { GalleryItem, Job, JobStatus, Tile } from "../types.d.ts" */

import { ProgressState } from "./progress-state.js";

/** @type {Set<JobStatus>} */
const UNFINISHED = new Set(["pending", "processing"]);

/** @param {Job} job */
export const isUnfinished = (job) => UNFINISHED.has(job.status);

/**
 * Return the tiles of a job. Cancelled jobs have one only where they are asked for.
 * @param {Job} job
 * @param {string} modelName
 * @param {boolean} showsCancelled
 * @returns {Tile[]}
 */
export function tilesOf(job, modelName, showsCancelled) {
  const base = { job, modelName };
  if (isUnfinished(job)) {
    return job.shardStates.flatMap((state, index) =>
      state === "cancelled"
        ? []
        : [{ ...base, kind: "progress", key: `${job.jobId}/shard/${index}`, index, state: new ProgressState(state) }],
    );
  }
  if (job.status === "completed") {
    return job.outputs.map((_, index) => ({ kind: "output", key: `${job.jobId}/${index}`, ...toItem(job, index, modelName) }));
  }
  const isShown = job.status === "failed" || showsCancelled;
  return isShown ? [{ ...base, kind: "ended", key: `${job.jobId}/${job.status}` }] : [];
}

/**
 * @param {Job} job
 * @param {number} index
 * @param {string} modelName
 * @returns {GalleryItem}
 */
function toItem(job, index, modelName) {
  const downloadUrl = `/dashboard/api/jobs/${job.jobId}/outputs/${index}`;
  return { job, output: job.outputs[index], index, modelName, downloadUrl };
}
