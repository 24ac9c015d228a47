// The dialog that lists the service's models and opens one on the canvas.

import { listModels, readStatus, readWorkflow } from "./client.js";
import { actionButton, el, field, messageBox, openDialog } from "./dom.js";
import { openWorkflow } from "./graph.js";

export async function openModelDialog() {
  const { dialog, body } = openDialog("Open from Pixel Factory");
  body.append(el("p", { textContent: "Loading the models …" }));
  try {
    const status = await readStatus();
    if (!status.configured) {
      body.replaceChildren(messageBox(status.message, "pf-error"));
      return;
    }
    const answer = await listModels();
    showModels(body, answer.models ?? answer.data ?? [], dialog);
  } catch (error) {
    body.replaceChildren(messageBox(error.message, "pf-error"));
  }
}

function showModels(body, models, dialog) {
  const message = el("div", { role: "status" });
  const rows = models.map((model) => modelRow(model, dialog, message));
  const filter = el("input", { type: "search", placeholder: "Part of an id" });
  filter.addEventListener("input", () => {
    for (const row of rows) {
      row.hidden = !row.dataset.id.includes(filter.value.trim().toLowerCase());
    }
  });
  const list = el("ul", { className: "pf-models" }, rows);
  const empty = models.length ? null : el("p", { textContent: "The service has no models." });
  body.replaceChildren(...[field("Filter", filter), message, empty, list].filter(Boolean));
}

function modelRow(model, dialog, message) {
  const open = actionButton("Open", async () => {
    try {
      const answer = await readWorkflow(model.id);
      await openWorkflow(answer.workflow, model.id);
      const notes = fileNotes(answer.input_files ?? {});
      if (notes.length) {
        message.replaceChildren(...notes.map((note) => messageBox(`${model.id} is open. ${note}`, "pf-warning")));
      } else {
        dialog.close();
      }
    } catch (error) {
      message.replaceChildren(messageBox(error.message, "pf-error"));
    }
  });
  open.ariaLabel = `Open ${model.id}`;
  const facts = [model.type, model.state, model.price_class].filter(Boolean).join(" · ");
  const row = el(
    "li",
    {},
    el("span", {}, el("strong", { textContent: model.id }), el("small", { textContent: facts })),
    open,
  );
  row.dataset.id = model.id;
  return row;
}

/** Return what the author should know of the input files that the opened graph loads. */
function fileNotes({ different = [], missing = [] }) {
  const notes = [];
  if (different.length) {
    notes.push(
      `ComfyUI's input folder has other files with the names of the model's: ${different.join(", ")}. ` +
        "They were not replaced: rename them and open the model again, or choose files in the graph.",
    );
  }
  if (missing.length) {
    notes.push(
      `The service does not have these files, which the graph loads: ${missing.join(", ")}. ` +
        "Ask the author of the model for them and put them into ComfyUI's input folder, or choose others.",
    );
  }
  return notes;
}
