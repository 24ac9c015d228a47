// The account's jobs as a grid of tiles, newest first, updated while they run.

/** @import { GalleryActions, GalleryItem, Job, JobStatus } from "../types.d.ts" */

import { api } from "../shared/api.js";
import { byId } from "../shared/dom.js";
import { failedTile, outputTile, ProgressTile } from "./gallery-tiles.js";
import { JobStream } from "./job-stream.js";
import { Lightbox } from "./lightbox.js";

const PAGE_SIZE = 24;
/** @type {Set<JobStatus>} */
const UNFINISHED = new Set(["pending", "processing"]);

/** @typedef {ProgressTile | HTMLLIElement} Tile */

/** @param {Tile} tile */
const tileNode = (tile) => (tile instanceof ProgressTile ? tile.node : tile);

export class Gallery {
  /**
   * @param {Map<string, string>} modelNames By model id.
   * @param {GalleryActions} actions
   */
  constructor(modelNames, actions) {
    this.modelNames = modelNames;
    this.actions = actions;
    this.list = byId("tiles");
    /** @type {Map<string, Tile[]>} By job id: a tile for each shard or output. */
    this.tiles = new Map();
    /** @type {Map<Element, GalleryItem>} */
    this.items = new Map();
    /** @type {string | null} Cursor of the next page. */
    this.cursor = null;
    this.stream = new JobStream((name, data) => this.#onEvent(name, data));
    const listItems = () => [...this.list.children].flatMap((node) => this.items.get(node) ?? []);
    this.lightbox = new Lightbox(listItems, actions);
    byId("load-older").addEventListener("click", () => this.load());
  }

  /** Load the next page of older jobs. */
  async load() {
    const query = new URLSearchParams({ limit: String(PAGE_SIZE), ...(this.cursor && { cursor: this.cursor }) });
    /** @type {{ jobs: Job[], next: string | null }} */
    const page = await api("GET", `jobs?${query}`);
    this.cursor = page.next;
    byId("load-older").hidden = !page.next;
    const jobs = page.jobs.filter((job) => UNFINISHED.has(job.status) || job.status === "completed");
    for (const job of jobs) if (!this.tiles.has(job.jobId)) this.list.append(...this.#createTiles(job));
    this.stream.follow(...jobs.filter((job) => UNFINISHED.has(job.status)).map((job) => job.jobId));
    this.#updateEmptyState();
  }

  /**
   * Add a job that was just submitted.
   * @param {Job} job
   */
  add(job) {
    this.list.prepend(...this.#createTiles(job));
    this.list.firstElementChild?.scrollIntoView({ block: "nearest" });
    this.stream.follow(job.jobId);
    this.#updateEmptyState();
  }

  /**
   * @param {string} name
   * @param {any} data
   */
  #onEvent(name, data) {
    if (name === "job") {
      this.#update(data);
      return;
    }
    const tile = this.tiles.get(data.job)?.[data.shard];
    if (!(tile instanceof ProgressTile)) return;
    if (name === "started") tile.showStatus("Starting");
    else if (name === "progress") tile.showProgress(data);
    else tile.showPreview(data.src);
  }

  /**
   * Replace the progress tiles of a job that has finished.
   * @param {Job} job
   */
  #update(job) {
    const old = this.tiles.get(job.jobId);
    if (UNFINISHED.has(job.status) || !(old?.[0] instanceof ProgressTile)) return;
    this.stream.unfollow(job.jobId);
    tileNode(old[0]).before(...this.#createTiles(job));
    for (const tile of old) tileNode(tile).remove();
    byId("announcement").textContent = `${this.#modelName(job)}: ${job.status}`;
    this.#updateEmptyState();
    this.actions.onJobFinished();
  }

  /**
   * Create the tiles of a job in its current state, and return their nodes.
   * @param {Job} job
   */
  #createTiles(job) {
    const tiles = this.#tilesFor(job);
    this.tiles.set(job.jobId, tiles);
    return tiles.map(tileNode);
  }

  /**
   * @param {Job} job
   * @returns {Tile[]}
   */
  #tilesFor(job) {
    if (UNFINISHED.has(job.status)) {
      const cancel = () => this.#cancel(job);
      return Array.from({ length: job.shards.total }, () => new ProgressTile(job, this.#modelName(job), cancel));
    }
    if (job.status === "failed") return [failedTile(job)];
    return job.status === "cancelled" ? [] : job.outputs.map((_, index) => this.#createOutputTile(job, index));
  }

  /**
   * @param {Job} job
   * @param {number} index
   */
  #createOutputTile(job, index) {
    const output = job.outputs[index];
    const modelName = this.#modelName(job);
    const downloadUrl = `/dashboard/api/jobs/${job.jobId}/outputs/${index}`;
    /** @type {GalleryItem} */
    const item = { job, output, index, modelName, downloadUrl };
    const tile = outputTile(job, output, modelName, () => this.lightbox.open(item));
    this.items.set(tile, item);
    return tile;
  }

  /** @param {Job} job */
  async #cancel(job) {
    // A job that cannot be cancelled has finished; the stream reports that.
    await api("DELETE", `jobs/${job.jobId}`).then((cancelled) => this.#update(cancelled), () => {});
  }

  /** @param {Job} job */
  #modelName(job) {
    return this.modelNames.get(job.model) ?? job.model;
  }

  #updateEmptyState() {
    byId("no-results").hidden = this.list.children.length > 0;
  }
}
