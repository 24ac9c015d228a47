// One run of a draft, with its result.

import { runModel } from "./client.js";
import { actionButton, el, field, messageBox } from "./dom.js";
import { valueOnCanvas } from "./graph.js";

const FILE_KINDS = { image: "image/*", images: "image/*", video: "video/*", audio: "audio/*,video/*" };

export class TestRun {
  constructor(id, parameters, prompt) {
    this.id = id;
    this.inputs = new Map();
    const needed = parameters.filter((spec) => spec.required || spec.name === "prompt");
    const fields = needed.map((spec) => field(spec.name, this.input(spec, prompt)));
    this.output = el("div", { className: "pf-output" });
    const button = actionButton("Run", () => this.run());
    this.element = el("section", {}, el("h3", { textContent: "Test run" }), ...fields, button, this.output);
  }

  input(spec, prompt) {
    if (spec.kind in FILE_KINDS) {
      const multiple = spec.kind === "images";
      const input = el("input", { type: "file", accept: FILE_KINDS[spec.kind], multiple });
      const read = () => readFiles(input, multiple);
      this.inputs.set(spec.name, { spec, isGiven: () => input.files.length > 0, read });
      return input;
    }
    const onCanvas = (spec.where ?? []).map((place) => valueOnCanvas(prompt, place));
    const value = onCanvas.find((each) => each !== undefined) ?? spec.default ?? "";
    const isNumber = spec.kind === "integer" || spec.kind === "number";
    const input = el("input", { type: isNumber ? "number" : "text", value });
    const read = () => (isNumber ? Number(input.value) : input.value);
    this.inputs.set(spec.name, { spec, isGiven: () => input.value !== "", read });
    return input;
  }

  /** Run the model, unless the author has to choose files first. The service draws an example image itself. */
  async runIfComplete() {
    const waits = ({ spec, isGiven }) => spec.required && !isGiven() && !spec.kind.startsWith("image");
    if (![...this.inputs.values()].some(waits)) {
      await this.run();
    }
  }

  async run() {
    this.output.replaceChildren(el("p", { textContent: "Running …" }));
    try {
      const params = {};
      for (const [name, { isGiven, read }] of this.inputs) {
        if (isGiven()) {
          params[name] = await read();
        }
      }
      this.show(await runModel(this.id, params));
    } catch (error) {
      this.output.replaceChildren(messageBox(error.message, "pf-error"));
    }
  }

  show(job) {
    if (job.status !== "completed") {
      const reason = job.error?.message ?? "look at the job again later";
      this.output.replaceChildren(messageBox(`The job ${job.jobId} is ${job.status}: ${reason}`, "pf-error"));
      return;
    }
    const facts = [`Cost: ${job.costCents} cents`, ...(job.simulated ? ["made by a simulator"] : [])];
    const warnings = job.warnings.map((text) => messageBox(text, "pf-warning"));
    const results = (job.files ?? []).map(resultElement);
    this.output.replaceChildren(...results, el("p", { textContent: facts.join(", ") }), ...warnings);
  }
}

function resultElement(file) {
  const medium = file.content_type.split("/")[0];
  if (medium === "image") {
    const show = (event) => event.target.scrollIntoView({ block: "nearest" });
    return el("img", { src: file.url, alt: "Result of the test run", onload: show });
  }
  if (medium === "video" || medium === "audio") {
    return el(medium, { src: file.url, controls: true });
  }
  return el("a", { href: file.url, target: "_blank", rel: "noopener", textContent: "Download the result" });
}

async function readFiles(input, multiple) {
  const files = await Promise.all([...input.files].map(readFile));
  return multiple ? files : files[0];
}

function readFile(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
