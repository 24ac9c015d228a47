// One result, large, with what it was made from.

import { byId, definitions } from "./dom.js";
import { dollars, label, when } from "./format.js";
import { isImage, viewer } from "./tiles.js";

const HIDDEN = new Set(["prompt", "n", "width", "height"]);

export class Lightbox {
  // `items()` are all results in their order; `act.reuse(job)`, `act.use(item, kind)` leave the box.
  constructor(items, act) {
    this.items = items;
    this.dialog = byId("lightbox");
    byId("close").addEventListener("click", () => this.dialog.close());
    byId("previous").addEventListener("click", () => this.#move(-1));
    byId("next").addEventListener("click", () => this.#move(1));
    byId("reuse").addEventListener("click", () => this.#leave(() => act.reuse(this.item.job)));
    byId("upscale").addEventListener("click", () => this.#leave(() => act.use(this.item, "upscale")));
    byId("animate").addEventListener("click", () => this.#leave(() => act.use(this.item, "i2v")));
    this.dialog.addEventListener("close", () => byId("stage").replaceChildren());
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.dialog.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step && !(event.target instanceof HTMLMediaElement)) this.#move(step);
    });
  }

  open(item) {
    this.item = item;
    const { job, output } = item;
    const shown = viewer(output, { alt: job.params.prompt || item.name });
    if (shown instanceof HTMLMediaElement) Object.assign(shown, { controls: true, autoplay: true });
    byId("stage").replaceChildren(shown);
    byId("shown-prompt").textContent = job.params.prompt ?? "";
    byId("facts").replaceChildren(...definitions(this.#facts(item)));
    byId("download").href = item.download;
    for (const id of ["upscale", "animate"]) byId(id).hidden = !isImage(output);
    const all = this.items();
    byId("previous").disabled = all[0] === item;
    byId("next").disabled = all.at(-1) === item;
    if (!this.dialog.open) this.dialog.showModal();
  }

  #facts({ job, output, name, index }) {
    const facts = [["Model", name]];
    if (output.width) facts.push(["Size", `${output.width} × ${output.height}`]);
    for (const [param, value] of Object.entries(job.params)) {
      if (HIDDEN.has(param) || value === null || value === "" || typeof value === "object") continue;
      facts.push([label(param), param === "seed" ? String(BigInt(value) + BigInt(index)) : String(value)]);
    }
    facts.push(["Cost", dollars(job.costUsd) + (job.shards.total > 1 ? ` for ${job.shards.total}` : "")]);
    facts.push(["Made", when(job.finishedAt)]);
    return facts;
  }

  #move(step) {
    const all = this.items();
    const item = all[all.indexOf(this.item) + step];
    if (item) this.open(item);
  }

  #leave(act) {
    this.dialog.close();
    act();
  }
}
