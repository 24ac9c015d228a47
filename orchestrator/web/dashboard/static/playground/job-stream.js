// Live events of unfinished jobs, all over one stream of server-sent events.

import { api } from "../shared/api.js";

const MAX_JOBS = 50;
const RECONNECT_MS = 3000;
const EVENT_NAMES = ["job", "queue", "started", "progress", "preview"];

export class JobStream {
  /** @param {(name: string, data: any) => void} onEvent */
  constructor(onEvent) {
    this.onEvent = onEvent;
    /** @type {Set<string>} */
    this.jobIds = new Set();
    /** @type {EventSource | undefined} */
    this.source = undefined;
  }

  /** @param {string[]} jobIds */
  follow(...jobIds) {
    const added = jobIds.filter((id) => !this.jobIds.has(id));
    for (const id of added) this.jobIds.add(id);
    if (added.length) this.#connect();
  }

  /** @param {string} jobId */
  unfollow(jobId) {
    this.jobIds.delete(jobId);
    if (!this.jobIds.size) this.source?.close();
  }

  #connect() {
    this.source?.close();
    if (!this.jobIds.size) return;
    const query = new URLSearchParams([...this.jobIds].slice(0, MAX_JOBS).map((id) => ["job", id]));
    const source = new EventSource(`/dashboard/api/live?${query}`);
    for (const name of EVENT_NAMES) {
      source.addEventListener(name, (event) => this.onEvent(name, JSON.parse(event.data)));
    }
    // The browser reconnects after a lost connection, but not after an error response.
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED && source === this.source) this.#reconnectLater();
    });
    this.source = source;
  }

  #reconnectLater() {
    const reconnect = () => api("GET", "account").then(() => this.#connect(), () => this.#reconnectLater());
    setTimeout(reconnect, RECONNECT_MS);
  }
}
