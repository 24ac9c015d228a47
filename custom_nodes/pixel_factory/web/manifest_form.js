// What the author may correct before publishing: parameters, and facts of the model.

import { el, field } from "./dom.js";

const NUMBER_KEYS = ["minimum", "maximum", "step"];
const NUMBERS = new Set(["integer", "number"]);
const FILES = new Set(["image", "video", "audio"]);
const GIB = 2 ** 30;
/** Field of the manifest, label, and hint. */
const TEXTS = [
  ["name", "Name", "as lists show it"],
  ["description", "Description", "one sentence for callers"],
  ["license", "License", "of the weights and the graph, such as apache-2.0"],
  ["owner", "Owner", "who made the model"],
];
/** Estimate, label, and its unit in the unit of the field. */
const ESTIMATES = [
  ["vram_bytes", "GPU memory of a run (GiB)", GIB],
  ["step_seconds", "Seconds per step", 1],
];

/** Return whether a parameter can be fixed, and what that means. */
function fixing(spec) {
  if (FILES.has(spec.kind)) {
    return spec.example
      ? [true, `Whether requests may set it; otherwise every run loads ${spec.example}`]
      : [false, "Requests set it: the graph names no file that every run could load"];
  }
  const hasValue = spec.kind === "string" || (spec.default ?? null) !== null;
  return hasValue
    ? [true, "Whether requests may set it; otherwise it stays at its default"]
    : [false, "Requests set it: the graph has no value at which it could stay"];
}

export class ManifestForm {
  /** `published` are the texts of the workflow's last publication. */
  constructor(published) {
    this.report = { parameters: [] };
    /** Parameter of the report -> changed keys, or null for one that is fixed. */
    this.parameterChanges = {};
    const keys = [...TEXTS.map(([key]) => key), "price_class"].filter((key) => key in published);
    this.changed = Object.fromEntries(keys.map((key) => [key, published[key]]));
    this.estimates = {};
    this.weightFolders = {};
  }

  /** Take a new report; the author's corrections stay. */
  show(report) {
    const former = this.report.parameters;
    const parameters = report.parameters.map((spec) => this.originalSpec({ ...spec, ...spec.range }, former));
    const kept = former.filter((spec) => this.parameterChanges[spec.name] === null);
    const names = new Set(parameters.map((spec) => spec.name));
    this.report = { ...report, parameters: [...parameters, ...kept.filter((spec) => !names.has(spec.name))] };
  }

  /** Return a parameter of a report under the name and with the values that it has without corrections. */
  originalSpec(spec, former) {
    for (const [name, changes] of Object.entries(this.parameterChanges)) {
      if (changes && (changes.name ?? name) === spec.name) {
        return former.find((each) => each.name === name) ?? spec;
      }
    }
    return spec;
  }

  /** Return the changes to the manifest for the service. */
  changes() {
    const parameters = Object.entries(this.parameterChanges).filter(
      ([, changes]) => changes === null || Object.keys(changes).length,
    );
    return {
      ...this.changed,
      ...(parameters.length ? { parameters: Object.fromEntries(parameters) } : {}),
      ...(Object.keys(this.estimates).length ? { estimates: this.estimates } : {}),
      ...(Object.keys(this.weightFolders).length ? { weight_folders: this.weightFolders } : {}),
    };
  }

  /** Return the parameters as they will be. */
  parameters() {
    return this.report.parameters
      .filter((spec) => this.parameterChanges[spec.name] !== null)
      .map((spec) => ({ ...spec, ...this.parameterChanges[spec.name] }));
  }

  parameterTable() {
    const rows = this.report.parameters.map((spec) => this.row(spec));
    if (!rows.length) {
      return el("p", { textContent: "None: every request gives the same result. Add parameter nodes." });
    }
    const titles = ["", "Name", "Type", "Default", "Minimum", "Maximum", "Step"];
    const head = el("tr", {}, titles.map((title) => el("th", { textContent: title, scope: "col" })));
    return el("table", {}, el("thead", {}, head), el("tbody", {}, rows));
  }

  row(spec) {
    const isFixed = this.parameterChanges[spec.name] === null;
    const [canBeFixed, hint] = fixing(spec);
    const offered = el("input", {
      type: "checkbox",
      checked: !isFixed,
      disabled: !canBeFixed,
      ariaLabel: `requests set ${spec.name}`,
      title: hint,
    });
    const name = this.input(spec, "name", "text");
    name.title = (spec.where ?? []).join(", ");
    const required = spec.required && !isFixed ? el("small", { textContent: " required" }) : null;
    const cells = [
      el("td", {}, offered),
      el("td", {}, name),
      el("td", {}, spec.kind, required),
      el("td", {}, this.defaultControl(spec)),
      ...NUMBER_KEYS.map((key) => el("td", {}, NUMBERS.has(spec.kind) ? this.input(spec, key, "number") : null)),
    ];
    const row = el("tr", { className: isFixed ? "pf-fixed" : "" }, cells);
    offered.addEventListener("change", () => {
      this.parameterChanges[spec.name] = offered.checked ? {} : null;
      row.replaceWith(this.row(spec));
    });
    return row;
  }

  defaultControl(spec) {
    if (FILES.has(spec.kind) && this.parameterChanges[spec.name] === null) {
      return el("small", { textContent: `stays ${spec.example}` });
    }
    if (spec.required) {
      return null;
    }
    if (spec.choices?.length) {
      const value = this.value(spec, "default");
      const options = spec.choices.map((text) => el("option", { textContent: text, selected: text === value }));
      const select = el("select", { ariaLabel: `default of ${spec.name}` }, options);
      select.addEventListener("change", () => this.set(spec, "default", select.value));
      return select;
    }
    if (spec.kind === "boolean") {
      const checked = Boolean(this.value(spec, "default"));
      const input = el("input", { type: "checkbox", checked, ariaLabel: `default of ${spec.name}` });
      input.addEventListener("change", () => this.set(spec, "default", input.checked));
      return input;
    }
    if (NUMBERS.has(spec.kind)) {
      return this.input(spec, "default", "number");
    }
    return spec.kind === "string" ? this.input(spec, "default", "text") : null;
  }

  input(spec, key, type) {
    const input = el("input", {
      type,
      value: this.value(spec, key) ?? "",
      ariaLabel: `${key} of ${spec.name}`,
      disabled: this.parameterChanges[spec.name] === null,
    });
    if (type === "number") {
      input.step = "any";
    }
    input.addEventListener("change", () => {
      const given = type === "number" ? (input.value === "" ? undefined : Number(input.value)) : input.value;
      this.set(spec, key, given);
    });
    return input;
  }

  value(spec, key) {
    return this.parameterChanges[spec.name]?.[key] ?? spec[key];
  }

  set(spec, key, value) {
    const changes = (this.parameterChanges[spec.name] ??= {});
    if (value === undefined || value === spec[key]) {
      delete changes[key];
    } else {
      changes[key] = value;
    }
  }

  aboutFields() {
    const missing = this.report.missing ?? {};
    const texts = TEXTS.map(([key, label, hint]) => this.textField(key, label, missing[key] ?? hint, key in missing));
    const needed = [...this.estimateFields(missing), ...this.folderField(missing), ...this.batchField(missing)];
    return el("div", { className: "pf-grid" }, texts, this.priceClassField(), needed);
  }

  textField(key, label, hint, isMissing) {
    const proposed = isMissing ? "" : (this.report[key] ?? "");
    const input = el("input", { value: this.changed[key] ?? proposed, placeholder: hint });
    input.addEventListener("change", () => this.change(key, input.value.trim(), proposed));
    const shown = field(isMissing ? `${label} (needed to publish)` : label, input);
    shown.classList.toggle("pf-marked", isMissing && !this.changed[key]);
    return shown;
  }

  priceClassField() {
    const proposed = this.report.price_class;
    const classes = this.report.price_classes ?? [proposed];
    const chosen = this.changed.price_class ?? proposed;
    const options = classes.map((name) => el("option", { textContent: name, selected: name === chosen }));
    const select = el("select", {}, options);
    select.addEventListener("change", () => this.change("price_class", select.value, proposed));
    return field("Price class", select);
  }

  estimateFields(missing) {
    if (!("estimates" in missing) && !Object.keys(this.estimates).length) {
      return [];
    }
    return ESTIMATES.map(([key, label, unit]) => {
      const value = key in this.estimates ? this.estimates[key] / unit : "";
      const input = el("input", { type: "number", min: "0", step: "any", value });
      input.addEventListener("change", () => {
        if (input.value === "") {
          delete this.estimates[key];
        } else {
          const estimate = Number(input.value) * unit;
          this.estimates[key] = key === "vram_bytes" ? Math.round(estimate) : estimate;
        }
      });
      return field(`${label} (needed to publish)`, input);
    });
  }

  /** Ask for the folders of weight files that this ComfyUI does not have. */
  folderField(missing) {
    if (!("weight_folders" in missing) && !Object.keys(this.weightFolders).length) {
      return [];
    }
    const value = Object.entries(this.weightFolders).map((pair) => pair.join("=")).join(", ");
    const input = el("input", { value, placeholder: "FILE=FOLDER, FILE=FOLDER", title: missing.weight_folders ?? "" });
    input.addEventListener("change", () => {
      const pairs = input.value.split(",").map((part) => part.trim().match(/^(.+)=([^=]+)$/));
      this.weightFolders = Object.fromEntries(pairs.filter(Boolean).map((found) => [found[1].trim(), found[2].trim()]));
    });
    return [field(`Folders below models/ (needed to publish): ${missing.weight_folders ?? ""}`, input)];
  }

  /** Ask for the number of results that callers pay for, if the graph makes fewer. */
  batchField(missing) {
    if (!("batch" in missing) && !("batch" in this.changed)) {
      return [];
    }
    const input = el("input", { type: "number", min: "1", step: "1", value: this.changed.batch ?? "" });
    input.addEventListener("change", () => this.change("batch", Number(input.value), this.report.results));
    return [field(`Results that callers pay for (needed to publish): ${missing.batch ?? ""}`, input)];
  }

  change(key, value, proposed) {
    if (value && value !== proposed) {
      this.changed[key] = value;
    } else {
      delete this.changed[key];
    }
  }
}
