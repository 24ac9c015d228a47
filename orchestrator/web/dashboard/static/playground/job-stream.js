// Follows unfinished jobs over one stream of server-sent events.

import { api } from "./api.js";

const MOST = 50;
const RETRY_MS = 3000;

export class Live {
  // `told(event, data)` gets each event: job, started, progress, preview.
  constructor(told) {
    this.told = told;
    this.ids = new Set();
  }

  follow(...ids) {
    const fresh = ids.filter((id) => !this.ids.has(id));
    for (const id of fresh) this.ids.add(id);
    if (fresh.length) this.#open();
  }

  forget(id) {
    this.ids.delete(id);
    if (!this.ids.size) this.source?.close();
  }

  #open() {
    this.source?.close();
    if (!this.ids.size) return;
    const query = new URLSearchParams([...this.ids].slice(0, MOST).map((id) => ["job", id]));
    const source = new EventSource(`/dashboard/api/live?${query}`);
    for (const name of ["job", "started", "progress", "preview"]) {
      source.addEventListener(name, (event) => this.told(name, JSON.parse(event.data)));
    }
    // A cut connection comes back by itself; a refused one does not.
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED && source === this.source) this.#retry();
    });
    this.source = source;
  }

  #retry() {
    setTimeout(() => api("GET", "account").then(() => this.#open(), () => this.#retry()), RETRY_MS);
  }
}
