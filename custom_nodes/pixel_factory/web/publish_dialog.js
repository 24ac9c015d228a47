// The dialog that publishes the graph: check, draft, test run, live, and how to call the model.

import { RequestFailed, readStatus, sendModel } from "./client.js";
import { actionButton, el, field, messageBox, openDialog } from "./dom.js";
import { readGraph, readPublication, suggestId, writePublication } from "./graph.js";
import { ManifestForm } from "./manifest_form.js";
import { reportSections } from "./report.js";
import { callExamples } from "./snippets.js";
import { TestRun } from "./test_run.js";

/** Open the dialog and check the graph. */
export async function openPublishDialog() {
  const { body, footer } = openDialog("Publish to Pixel Factory");
  body.append(el("p", { textContent: "Asking the service …" }));
  try {
    const status = await readStatus();
    if (status.configured) {
      await new PublishDialog(body, footer, status).start();
    } else {
      body.replaceChildren(messageBox(status.message, "pf-error"));
    }
  } catch (error) {
    body.replaceChildren(messageBox(error.message, "pf-error"));
  }
}

class PublishDialog {
  constructor(body, footer, status) {
    this.body = body;
    this.footer = footer;
    this.status = status;
    this.form = new ManifestForm(readPublication().manifest);
    this.isChecked = false;
    this.idInput = el("input", {
      value: suggestId(),
      placeholder: "my-model",
      spellcheck: false,
      oninput: () => this.showButtons(),
      onkeydown: (event) => event.key === "Enter" && this.id && this.check(),
    });
    this.replaceInput = el("input", { type: "checkbox" });
    this.replaceLabel = el("label", { className: "pf-check" }, this.replaceInput, "Replace the model with this id");
    this.report = el("div", { className: "pf-report" });
    this.result = el("div", { className: "pf-result" });
    this.result.setAttribute("role", "status");
  }

  get id() {
    return this.idInput.value.trim();
  }

  async start() {
    const warning = this.status.message ? messageBox(this.status.message, "pf-warning") : null;
    const parts = [
      warning,
      el("p", { className: "pf-muted", textContent: `Service: ${this.status.url}` }),
      field("Model id", this.idInput, "Callers name the model by it: lower-case letters, digits and - . _"),
      this.replaceLabel,
      this.report,
      this.result,
    ];
    this.body.replaceChildren(...parts.filter(Boolean));
    this.showButtons();
    if (this.id) {
      await this.check();
    } else {
      this.idInput.focus();
    }
  }

  showButtons() {
    const check = actionButton(this.isChecked ? "Check again" : "Check", () => this.check());
    const draft = actionButton("Save draft and test", () => this.saveDraft());
    const publish = actionButton("Publish", () => this.publish(), "pf-primary");
    const buttons = this.isChecked ? [check, draft, publish] : [check];
    for (const button of buttons) {
      button.disabled = !this.id;
    }
    this.footer.replaceChildren(...buttons);
  }

  /** Send the graph with the author's corrections. Returns the answer; undefined if it was refused. */
  async send(options) {
    this.result.replaceChildren(el("p", { textContent: "Sending the graph …" }));
    try {
      if (!options.dry_run) {
        writePublication(this.id, this.form.changed);
      }
      const graph = await readGraph();
      this.prompt = graph.prompt;
      const replace = this.replaceInput.checked;
      const answer = await sendModel({ ...graph, id: this.id, manifest: this.form.changes(), replace, ...options });
      this.result.replaceChildren();
      return answer;
    } catch (error) {
      this.showError(error);
      return undefined;
    }
  }

  async check() {
    const report = await this.send({ dry_run: true, publish: false });
    if (report) {
      this.showReport(report);
    }
  }

  showReport(report) {
    this.isChecked = true;
    this.form.show(report);
    this.report.replaceChildren(...reportSections(report, this.form));
    this.replaceLabel.classList.toggle("pf-marked", Boolean(report.state) && !this.replaceInput.checked);
    this.showButtons();
  }

  async saveDraft() {
    const answer = await this.send({ dry_run: false, publish: false });
    if (!answer) {
      return;
    }
    this.takeAnswer(answer);
    const who = "Only you and the operators can call it.";
    const text = `Draft saved (version ${shortVersion(answer)}). ${who} Its name in requests: ${answer.call_as}`;
    const test = new TestRun(this.id, this.form.parameters(), this.prompt);
    this.result.replaceChildren(messageBox(text, "pf-done"), test.element);
    this.result.scrollIntoView({ block: "nearest" });
    await test.runIfComplete();
  }

  async publish() {
    const answer = await this.send({ dry_run: false, publish: true });
    if (!answer) {
      return;
    }
    this.takeAnswer(answer);
    const text = `${answer.id} is ${answer.state} (version ${shortVersion(answer)}). Callers can use it now.`;
    const examples = callExamples(this.status.url, answer.call_as || answer.id, this.form.parameters());
    this.result.replaceChildren(messageBox(text, "pf-done"), ...examples);
    this.result.scrollIntoView({ block: "end" });
  }

  takeAnswer(answer) {
    this.replaceInput.checked = true;
    if (answer.report) {
      this.showReport(answer.report);
    }
  }

  showError(error) {
    const code = error instanceof RequestFailed && error.code ? ` (${error.code})` : "";
    this.result.replaceChildren(messageBox(`${error.message}${code}`, "pf-error"));
    this.replaceLabel.classList.toggle("pf-marked", error.code === "model_exists");
    this.result.scrollIntoView({ block: "end" });
  }
}

function shortVersion(answer) {
  return answer.version.slice(0, 12);
}
