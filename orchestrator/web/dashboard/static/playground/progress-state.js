// What is known about a shard that waits or runs, and the sentence that says so.

/** @import { QueuePosition, ShardState } from "../types.d.ts" */

/** Share of the progress before the first step, at most: until then the model may still be loading. */
const BEFORE_STEPS = 0.1;

/** The progress of one unfinished shard of a job. */
export class ProgressState {
  /** @param {ShardState} shardState */
  constructor(shardState) {
    /** @type {ShardState} */
    this.shardState = shardState;
    /** @type {QueuePosition | undefined} */
    this.queue = undefined;
    /** @type {{ value: number, max: number, fraction: number } | undefined} */
    this.progress = undefined;
    this.previewUrl = "";
  }

  /** What happens now, as a sentence. */
  get text() {
    if (this.shardState === "succeeded") return "Done";
    const { value, max, fraction } = this.progress ?? { value: 0, max: 0, fraction: 0 };
    if (max > 1) return `Step ${value} of ${max}`;
    if (this.progress || this.shardState === "running") {
      const left = fraction < BEFORE_STEPS ? timeLeft(this.queue?.modelReady) : "";
      if (left) return `Loading the model, ${left} left`;
      return this.progress ? `${Math.round(100 * fraction)} %` : "Starting";
    }
    if (!this.queue?.position) return "Waiting for a GPU";
    const left = timeLeft(this.queue.estimatedFinish);
    return `Place ${this.queue.position} in the queue${left ? `, ${left}` : ""}`;
  }
}

/**
 * Return the time until a moment, such as "about 2 min"; an empty text if it has passed or is unknown.
 * @param {string | null | undefined} iso
 */
function timeLeft(iso) {
  const seconds = iso ? Math.ceil((Date.parse(iso) - Date.now()) / 1000) : 0;
  if (seconds <= 0) return "";
  return seconds < 90 ? `about ${seconds} s` : `about ${Math.round(seconds / 60)} min`;
}
