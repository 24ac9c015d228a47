// The graph on the canvas, as a publish request contains it.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const EXTRA_KEY = "pixel_factory_publication";

/** Return the workflow, the API graph, and the facts of the node classes that it uses. */
export async function readGraph() {
  const { workflow, output: prompt } = await app.graphToPrompt();
  const classes = [...new Set(Object.values(prompt).map((node) => node.class_type))];
  const facts = await Promise.all(classes.map(readFacts));
  return { workflow, prompt, object_info: Object.assign({}, ...facts) };
}

async function readFacts(className) {
  const response = await api.fetchApi(`/object_info/${encodeURIComponent(className)}`);
  return response.ok ? await response.json() : {};
}

/** Return what the workflow was published as: `id` and `manifest`; the author saves it with the workflow. */
export function readPublication() {
  const stored = app.graph.extra?.[EXTRA_KEY] ?? {};
  const manifest = Object.entries(stored.manifest ?? {}).filter(([, value]) => typeof value === "string");
  return { id: typeof stored.id === "string" ? stored.id : "", manifest: Object.fromEntries(manifest) };
}

/** Keep in the workflow what it is published as. */
export function writePublication(id, manifest) {
  app.graph.extra = { ...app.graph.extra, [EXTRA_KEY]: { id, manifest } };
}

/** Return the model id of the last publication, or one made of the name of the open workflow. */
export function suggestId() {
  const published = readPublication().id;
  if (published) {
    return published;
  }
  const name = app.extensionManager.workflow?.activeWorkflow?.filename ?? "";
  const id = name
    .toLowerCase()
    .replace(/\.json$/, "")
    .replace(/[^a-z0-9._-]+/g, "-")
    .replace(/^[^a-z0-9]+|[^a-z0-9]+$/g, "");
  return id.startsWith("unsaved-workflow") ? "" : id;
}

/** Return the value that an input, `NODE.INPUT`, has on the canvas; undefined if it is linked. */
export function valueOnCanvas(prompt, place) {
  const dot = place.lastIndexOf(".");
  const value = prompt[place.slice(0, dot)]?.inputs?.[place.slice(dot + 1)];
  if (!Array.isArray(value)) {
    return value;
  }
  // The input of the model was linked to a parameter node on the canvas.
  return prompt[value[0]]?.inputs?.value;
}

/** Replace the graph on the canvas in a new tab. */
export async function openWorkflow(workflow, name) {
  await app.loadGraphData(workflow, true, true, name);
}
