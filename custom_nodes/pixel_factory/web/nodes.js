// Behaviour of the parameter nodes on the page: titles, choices, and the audio player.

/* global LiteGraph */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const PREVIEW_DELAY_MS = 200;
const PREFIX = "PixelFactory";
/** Classes without a name in the title. */
const UNNAMED = new Set(["PixelFactoryOutputCheck"]);
const AUDIO_CLASSES = new Set(["PixelFactoryAudio", "PixelFactoryOutput"]);

/** Add the player that ComfyUI's page adds to its own audio nodes only. It must come before the upload. */
export function addAudioPlayer(nodeData) {
  if (!AUDIO_CLASSES.has(nodeData.name)) {
    return;
  }
  const { upload, ...inputs } = nodeData.input.required;
  nodeData.input.required = { ...inputs, audioUI: ["AUDIO_UI", {}], ...(upload ? { upload } : {}) };
}

/** Set up a node that was created or loaded. */
export function setUpNode(node) {
  const className = node.comfyClass ?? "";
  if (!className.startsWith(PREFIX) || UNNAMED.has(className)) {
    return;
  }
  followName(node);
  if (className === "PixelFactoryChoice") {
    followChoices(node);
  }
  if (className === "PixelFactoryImages") {
    followImages(node);
  }
}

/** Set up a node again after its values were loaded from a file. */
export function refreshNode(node) {
  node.pixelFactoryRefresh?.();
}

/** Show the parameter's name in the title, unless the author has given the node a title. */
function followName(node) {
  const widget = node.widgets?.find((each) => each.name === "name");
  if (!widget) {
    return;
  }
  const kind = node.constructor.title ?? node.title;
  let made = [kind];
  const update = () => {
    const title = widget.value ? `${widget.value} · ${kind}` : kind;
    if (made.includes(node.title) || node.title.endsWith(` · ${kind}`)) {
      node.title = title;
      made = [kind, title];
      node.setDirtyCanvas?.(true, true);
    }
  };
  chain(widget, "callback", update);
  addRefresh(node, update);
  update();
}

/** Offer the lines of `choices` as options of `value`, and take the options of the first linked input. */
function followChoices(node) {
  const value = node.widgets.find((each) => each.name === "value");
  const choices = node.widgets.find((each) => each.name === "choices");
  const update = () => {
    const lines = String(choices.value ?? "").split("\n");
    value.options.values = [...new Set(lines.map((line) => line.trim()).filter(Boolean))];
    if (value.options.values.length && !value.options.values.includes(value.value)) {
      value.value = value.options.values[0];
    }
  };
  chain(choices, "callback", update);
  addRefresh(node, update);
  chain(node, "onConnectionsChange", (side, slot, connected, link) => {
    const isOutput = side === LiteGraph.OUTPUT;
    if (isOutput && connected && link && !app.configuringGraph && !String(choices.value ?? "").trim()) {
      takeOptions(node, link, choices, value);
      update();
    }
  });
  update();
}

/** Take the options and the value of the input that a link leads to. */
function takeOptions(node, link, choices, value) {
  const target = node.graph?.getNodeById(link.target_id);
  const name = target?.inputs?.[link.target_slot]?.widget?.name;
  const widget = target?.widgets?.find((each) => each.name === name);
  const options = widget?.options?.values;
  const listed = typeof options === "function" ? options(widget, target) : options;
  if (Array.isArray(listed) && listed.length) {
    choices.value = listed.join("\n");
    value.value = widget.value;
  }
}

/** Show all images of the list. The page takes the names of several files for one name. */
function followImages(node) {
  const widget = node.widgets.find((each) => each.name === "images");
  const update = () => {
    // After the page has shown its own preview, in the next frame.
    setTimeout(() => {
      if (Array.isArray(widget.value) && widget.value.length > 1 && node.graph === app.graph) {
        showImages(node, widget.value);
      }
    }, PREVIEW_DELAY_MS);
  };
  chain(widget, "callback", update);
  addRefresh(node, update);
}

function showImages(node, names) {
  const images = names.map((name) => {
    const slash = name.lastIndexOf("/");
    return { filename: name.slice(slash + 1), subfolder: name.slice(0, Math.max(0, slash)), type: "input" };
  });
  const id = String(node.id);
  const detail = { node: id, display_node: id, output: { images }, prompt_id: "" };
  api.dispatchCustomEvent("executed", detail);
}

function addRefresh(node, update) {
  chain(node, "pixelFactoryRefresh", update);
}

/** Call `added` after a method, which may be missing. */
function chain(object, name, added) {
  const before = object[name];
  object[name] = function (...parameters) {
    const result = before?.apply(this, parameters);
    added(...parameters);
    return result;
  };
}
