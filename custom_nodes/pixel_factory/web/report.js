// The report of a dry run: what is wrong, what requests set, what stays fixed, and what it costs.

import { el, folded, messageBox, section, textList } from "./dom.js";

const MAX_SHOWN = 80;

/** Return the sections of a report; the form is shown among them. */
export function reportSections(report, form) {
  const wrong = report.problems.filter((problem) => !problem.is_warning).map(problemText);
  const warnings = report.problems.filter((problem) => problem.is_warning).map(problemText);
  const unknown = Object.entries(report.unknown_classes).map(([name, pack]) => unknownText(name, pack));
  const fixed = Object.entries(report.fixed).map(([place, value]) => `${place} = ${shortened(value)}`);
  const questions = report.questions ?? [];
  return [
    verdict(report),
    section("Wrong", wrong.length ? textList(wrong, "pf-wrong") : null),
    section("Nodes that the service does not know", unknown.length ? textList(unknown, "pf-wrong") : null),
    section("Warnings", warnings.length ? textList(warnings) : null),
    section("Parameters of requests", form.parameterTable()),
    section("About the model", form.aboutFields(), facts(report)),
    questions.length ? folded(`To review (${questions.length})`, textList(questions)) : null,
    fixed.length ? folded(`Stays fixed (${fixed.length})`, textList(fixed)) : null,
  ].filter(Boolean);
}

function verdict(report) {
  if (!report.usable) {
    return messageBox("An instance cannot run this graph yet. What is wrong is listed below.", "pf-error");
  }
  const missing = Object.keys(report.missing ?? {});
  const state = report.state ? ` It replaces the ${report.state} model with this id.` : "";
  if (missing.length) {
    return messageBox(`The graph runs. To publish it, fill in: ${missing.join(", ")}.${state}`, "pf-warning");
  }
  return messageBox(`The graph can be published.${state}`, "pf-done");
}

function problemText(problem) {
  const node = problem.node ? `Node ${problem.node}${problem.class_type ? ` (${problem.class_type})` : ""}` : "";
  const place = problem.input ? `${node}, ${problem.input}` : node;
  return place ? `${place}: ${problem.text}` : problem.text;
}

function unknownText(name, pack) {
  return pack ? `${name}: of the node pack ${pack}` : `${name}: no known node pack has it`;
}

function facts(report) {
  const lines = [
    `Kind: ${report.kind}`,
    `price of a default request: $${report.cost_usd}${report.results > 1 ? ` for ${report.results} results` : ""}`,
    `expected time: ${Math.round(report.estimated_seconds * 10) / 10} s`,
  ];
  if (report.taken_from) {
    lines.push(`taken from ${report.taken_from}: license and estimates`);
  }
  const weights = report.weights ?? [];
  const files = weights.length ? folded(`Weight files (${weights.length})`, textList(weights)) : null;
  return [el("p", { className: "pf-price", textContent: lines.join(" · ") }), files];
}

function shortened(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
}
