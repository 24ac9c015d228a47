// The account's jobs as a grid of tiles, newest first, updated while they run.

/** @import { GalleryActions, GalleryItem, Job, OutputTile, ProgressTile, QueuePosition, Tile } from "../types.d.ts" */

import { api } from "../shared/api.js";
import { byId } from "../shared/dom.js";
import { loadSection } from "../shared/load-section.js";
import { GalleryFilters } from "./gallery-filters.js";
import { isUnfinished, tilesOf } from "./gallery-items.js";
import { endedTile, outputTile, progressTile, updateProgressTile } from "./gallery-tiles.js";
import { JobStream } from "./job-stream.js";
import { Lightbox } from "./lightbox.js";
import { VirtualGrid } from "./virtual-grid.js";

const PAGE_SIZE = 48;
/** How often a visible page looks for jobs that other tabs and programs have made. */
const LOOK_MS = 5000;
/** Height of the tiles that has to be visible of a new job, in pixels. */
const MIN_VISIBLE = 120;
const CHANNEL = "pixelfactory-gallery";

export class Gallery {
  /**
   * @param {Map<string, string>} modelNames By model id.
   * @param {GalleryActions} actions
   */
  constructor(modelNames, actions) {
    this.modelNames = modelNames;
    this.actions = actions;
    /** @type {Job[]} Newest first. */
    this.jobs = [];
    /** @type {Map<string, Tile[]>} By job id. */
    this.tiles = new Map();
    /** @type {string | null} Cursor of the next page. */
    this.cursor = null;
    this.isLoading = false;
    this.isLooking = false;
    /** Counts changes of the filters: answers to earlier ones are dropped. */
    this.generation = 0;
    this.filters = new GalleryFilters(modelNames, () => this.reload());
    this.grid = new VirtualGrid(byId("tiles"), {
      keyOf: (/** @type {Tile} */ tile) => tile.key,
      createNode: (tile) => this.#createNode(tile),
      onNearEnd: () => this.#loadOlder(),
    });
    this.stream = new JobStream((name, data) => this.#onEvent(name, data));
    this.lightbox = new Lightbox({
      listItems: () => this.#outputTiles(),
      loadOlder: () => this.#loadOlder(),
      actions: { ...actions, remove: (item) => this.remove(item.job), refresh: (item) => this.#refresh(item) },
    });
    this.channel = new BroadcastChannel(CHANNEL);
    this.channel.addEventListener("message", () => this.#look());
    setInterval(() => this.#look(), LOOK_MS);
    addEventListener("visibilitychange", () => this.#look());
    setInterval(() => this.#showTimes(), 1000);
  }

  /** Load the first page for the present filters. */
  async reload() {
    this.generation++;
    this.isLoading = false;
    await loadSection(byId("main"), async () => {
      const page = await this.#request({ limit: String(PAGE_SIZE) });
      if (!page) return;
      this.cursor = page.next;
      this.jobs = [];
      this.tiles.clear();
      this.#append(page.jobs);
    });
  }

  /**
   * Return a page of jobs; undefined if the filters have changed meanwhile.
   * @param {Record<string, string>} query
   * @returns {Promise<{ jobs: Job[], next: string | null } | undefined>}
   */
  async #request(query) {
    const { generation } = this;
    const page = await api("GET", `jobs?${new URLSearchParams({ ...this.filters.query, ...query })}`);
    return generation === this.generation ? page : undefined;
  }

  /** Load the next page of older jobs. */
  async #loadOlder() {
    if (this.isLoading || !this.cursor) return;
    this.isLoading = true;
    await loadSection(byId("main"), async () => {
      try {
        const page = await this.#request({ limit: String(PAGE_SIZE), cursor: this.cursor ?? "" });
        if (!page) return;
        this.cursor = page.next;
        this.isLoading = false;
        this.#append(page.jobs);
      } finally {
        this.isLoading = false;
      }
    });
  }

  /** @param {Job[]} jobs */
  #append(jobs) {
    const fresh = jobs.filter((job) => !this.tiles.has(job.jobId));
    this.jobs.push(...fresh);
    this.#follow(fresh);
  }

  /** Look for jobs that are newer than those shown. */
  async #look() {
    if (document.hidden || this.isLooking) return;
    this.isLooking = true;
    const before = [...this.jobs];
    try {
      const page = await this.#request({ limit: "24" });
      if (!page) return;
      const fresh = page.jobs.filter((job) => !this.tiles.has(job.jobId));
      if (fresh.length === page.jobs.length && page.next && this.jobs.length) {
        await this.reload();
      } else if (fresh.length) {
        this.jobs.unshift(...fresh);
        this.#follow(fresh);
        this.actions.onJobFinished();
      }
      const listed = new Set(page.jobs.map((job) => job.jobId));
      const oldest = before.map((job) => listed.has(job.jobId)).lastIndexOf(true);
      // What is older than the last one of the page is not known to be there or not.
      const known = page.next ? before.slice(0, Math.max(oldest, 0)) : before;
      for (const gone of known) if (!listed.has(gone.jobId)) this.#forget(gone);
    } catch {
      // The page says so when it asks for something that the user wants.
    } finally {
      this.isLooking = false;
    }
  }

  /** @param {Job[]} jobs */
  #follow(jobs) {
    for (const job of jobs) this.#setTiles(job);
    this.stream.follow(...jobs.filter(isUnfinished).map((job) => job.jobId));
    this.#render();
  }

  /**
   * Add a job that was just submitted.
   * @param {Job} job
   */
  add(job) {
    if (this.tiles.has(job.jobId)) return;
    this.jobs.unshift(job);
    this.#follow([job]);
    const { top } = byId("tiles").getBoundingClientRect();
    if (top < 0 || top > innerHeight - MIN_VISIBLE) byId("main").scrollIntoView();
    this.channel.postMessage("added");
  }

  /**
   * Delete a job and its files, after a question.
   * @param {Job} job
   */
  async remove(job) {
    const count = job.outputs.length;
    const what = count > 1 ? `all ${count} results of this request` : "this result";
    if (!confirm(`Delete ${what} for good?`)) return;
    await api("DELETE", `gallery/${job.jobId}`);
    this.#forget(job);
    this.channel.postMessage("deleted");
    byId("announcement").textContent = "Deleted";
  }

  /** @param {Job} job */
  #forget(job) {
    this.stream.unfollow(job.jobId);
    this.jobs = this.jobs.filter((other) => other.jobId !== job.jobId);
    this.tiles.delete(job.jobId);
    this.#render();
  }

  /** @param {Job} job */
  #setTiles(job) {
    this.tiles.set(job.jobId, tilesOf(job, this.#modelName(job), this.filters.status === "cancelled"));
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
    for (const tile of this.#progressTiles(data.job)) {
      if (name === "queue") tile.state.queue = /** @type {QueuePosition} */ (data);
      else if (tile.index !== data.shard) continue;
      else if (name === "started") tile.state.shardState = "running";
      else if (name === "progress") tile.state.progress = data;
      else tile.state.previewUrl = data.src;
      this.#showProgress(tile);
    }
  }

  /**
   * @param {string} jobId
   * @returns {ProgressTile[]}
   */
  #progressTiles(jobId) {
    return (this.tiles.get(jobId) ?? []).filter((tile) => tile.kind === "progress");
  }

  /** @param {ProgressTile} tile */
  #showProgress(tile) {
    const node = this.grid.nodes.get(tile.key);
    if (node) updateProgressTile(node, tile.state);
  }

  /** Count down the times that are left. */
  #showTimes() {
    for (const jobId of this.stream.jobIds) this.#progressTiles(jobId).forEach((tile) => this.#showProgress(tile));
  }

  /**
   * Show the new state of a job.
   * @param {Job} job
   */
  #update(job) {
    const index = this.jobs.findIndex((other) => other.jobId === job.jobId);
    if (index < 0) return;
    const before = this.#progressTiles(job.jobId);
    this.jobs[index] = job;
    this.#setTiles(job);
    for (const tile of this.#progressTiles(job.jobId)) {
      const old = before.find((other) => other.key === tile.key)?.state;
      if (old) Object.assign(tile.state, { queue: old.queue, progress: old.progress, previewUrl: old.previewUrl });
      this.#showProgress(tile);
    }
    this.#render();
    if (isUnfinished(job) || !before.length) return;
    this.stream.unfollow(job.jobId);
    byId("announcement").textContent = `${this.#modelName(job)}: ${job.status}`;
    this.actions.onJobFinished();
  }

  /** @param {Tile} tile */
  #createNode(tile) {
    switch (tile.kind) {
      case "output":
        return outputTile(tile, { open: () => this.open(tile), refresh: () => this.#refresh(tile) });
      case "progress":
        return progressTile(tile, () => this.#cancel(tile));
      default:
        return endedTile(tile, {
          retry: () => this.actions.retry(tile.job),
          remove: () => this.remove(tile.job),
        });
    }
  }

  /**
   * Open the first result of a job. Throws ApiError if there is no such job.
   * @param {string} jobId
   */
  async openJob(jobId) {
    const job = await api("GET", `jobs/${jobId}`);
    const [item] = tilesOf(job, this.#modelName(job), true);
    if (item?.kind === "output") this.lightbox.open(item);
    else byId("announcement").textContent = `This job is ${job.status}.`;
  }

  /**
   * Return a small image of the latest result of a model.
   * @param {string} model
   */
  findExample(model) {
    return this.#outputTiles().find((tile) => tile.job.model === model && tile.output.thumbnail && !tile.job.expired)?.output.thumbnail;
  }

  /** @param {GalleryItem} item */
  open(item) {
    if (!this.actions.pickForComparison(item)) this.lightbox.open(item);
  }

  /**
   * Load the present state of a job, with fresh URLs. Throws ApiError.
   * @param {GalleryItem} item
   * @returns {Promise<GalleryItem | undefined>} The item with its new URL; undefined if it is no longer there.
   */
  async #refresh(item) {
    const job = await api("GET", `jobs/${item.job.jobId}`);
    const index = this.jobs.findIndex((other) => other.jobId === job.jobId);
    if (index >= 0) this.jobs[index] = job;
    this.#setTiles(job);
    return this.#outputTiles().find((tile) => tile.job.jobId === job.jobId && tile.index === item.index);
  }

  /** @param {ProgressTile} tile */
  async #cancel({ job, index }) {
    const path = job.shards.total > 1 ? `jobs/${job.jobId}/shards/${index}` : `jobs/${job.jobId}`;
    // What cannot be cancelled has finished; the stream reports that.
    await api("DELETE", path).then((changed) => this.#update(changed), () => {});
  }

  /** @returns {OutputTile[]} */
  #outputTiles() {
    return this.jobs.flatMap((job) => this.tiles.get(job.jobId) ?? []).filter((tile) => tile.kind === "output");
  }

  /** @param {Job} job */
  #modelName(job) {
    return this.modelNames.get(job.model) ?? job.model;
  }

  #render() {
    const tiles = this.jobs.flatMap((job) => this.tiles.get(job.jobId) ?? []);
    this.grid.show(tiles, this.cursor !== null);
    const isEmpty = !tiles.length && !this.cursor;
    byId("no-results").hidden = !isEmpty || this.filters.isActive;
    byId("no-matches").hidden = !isEmpty || !this.filters.isActive;
    // The first page may have no tiles at all, such as only cancelled jobs.
    if (!tiles.length && this.cursor) this.#loadOlder();
  }
}
