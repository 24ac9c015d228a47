// The caller's jobs as a grid of tiles, newest first, kept up to date while they run.

import { api } from "./api.js";
import { byId } from "./dom.js";
import { Lightbox } from "./lightbox.js";
import { Live } from "./live.js";
import { failedTile, resultTile, WaitingTile } from "./tiles.js";

const PAGE = 24;
const RUNNING = new Set(["pending", "processing"]);

export class Gallery {
  // `names`: model id to name. `act.finished()` is called when money has moved, the others by the lightbox.
  constructor(names, act) {
    this.names = names;
    this.act = act;
    this.list = byId("tiles");
    // By job id, what stands for it: waiting tiles, or plain elements. By element, the result it shows.
    this.tiles = new Map();
    this.results = new Map();
    this.live = new Live((event, data) => this.#told(event, data));
    const shown = () => [...this.list.children].map((li) => this.results.get(li)).filter(Boolean);
    this.lightbox = new Lightbox(shown, act);
    byId("more").addEventListener("click", () => this.load());
  }

  // The next page of older jobs.
  async load() {
    const query = new URLSearchParams({ limit: PAGE, ...(this.next && { cursor: this.next }) });
    const page = await api("GET", `jobs?${query}`);
    this.next = page.next;
    byId("more").hidden = !page.next;
    const jobs = page.jobs.filter((job) => RUNNING.has(job.status) || job.status === "completed");
    for (const job of jobs) if (!this.tiles.has(job.jobId)) this.#place(job, this.#make(job));
    this.live.follow(...jobs.filter((job) => RUNNING.has(job.status)).map((job) => job.jobId));
    this.#noteEmpty();
  }

  // A job that was just accepted.
  add(job) {
    this.#place(job, this.#make(job), true);
    this.list.firstElementChild.scrollIntoView({ block: "nearest" });
    this.live.follow(job.jobId);
    this.#noteEmpty();
  }

  #told(event, data) {
    if (event === "job") return this.#update(data);
    const tile = this.tiles.get(data.job)?.[data.shard];
    if (!(tile instanceof WaitingTile)) return undefined;
    if (event === "started") return tile.say("Starting");
    return event === "progress" ? tile.progress(data) : tile.show(data.src);
  }

  #update(job) {
    const shown = this.tiles.get(job.jobId);
    if (RUNNING.has(job.status) || !(shown?.[0] instanceof WaitingTile)) return;
    this.live.forget(job.jobId);
    const fresh = this.#make(job);
    shown[0].node.before(...fresh.map((tile) => tile.node ?? tile));
    for (const tile of shown) tile.node.remove();
    this.tiles.set(job.jobId, fresh);
    byId("news").textContent = `${this.names.get(job.model) ?? job.model}: ${job.status}`;
    this.#noteEmpty();
    this.act.finished();
  }

  // Tiles of a job in its present state.
  #make(job) {
    const name = this.names.get(job.model) ?? job.model;
    if (RUNNING.has(job.status)) {
      const cancel = () => api("DELETE", `jobs/${job.jobId}`).then((now) => this.#update(now), () => {});
      return Array.from({ length: job.shards.total }, () => new WaitingTile(job, name, cancel));
    }
    if (job.status === "failed") return [failedTile(job)];
    if (job.status === "cancelled") return [];
    return job.outputs.map((output, index) => {
      const download = `/dashboard/api/jobs/${job.jobId}/outputs/${index}`;
      const item = { job, output, index, name, download };
      const li = resultTile(job, output, name, () => this.lightbox.open(item));
      this.results.set(li, item);
      return li;
    });
  }

  #place(job, tiles, first = false) {
    this.tiles.set(job.jobId, tiles);
    const nodes = tiles.map((tile) => tile.node ?? tile);
    if (first) this.list.prepend(...nodes);
    else this.list.append(...nodes);
  }

  #noteEmpty() {
    byId("empty").hidden = this.list.children.length > 0;
  }
}
