// How to call a published model: curl and the OpenAI SDK.

import { actionButton, el, section } from "./dom.js";

const FILES = "https://example.com/";
const EXAMPLES = {
  image: `${FILES}image.png`,
  images: [`${FILES}image.png`],
  video: `${FILES}video.mp4`,
  audio: `${FILES}audio.wav`,
};
/** Parameters that the SDK's method has; all others go into `extra_body`. */
const SDK_PARAMETERS = new Set(["prompt"]);

export function callExamples(url, id, parameters) {
  const values = {};
  for (const spec of parameters) {
    if (spec.required || spec.name === "prompt") {
      values[spec.name] = spec.default ?? exampleValue(spec);
    }
  }
  return [
    codeSection("curl", curlText(url, id, values)),
    codeSection("OpenAI SDK", sdkText(url, id, values)),
  ];
}

function exampleValue(spec) {
  if (spec.kind === "integer" || spec.kind === "number") {
    return spec.minimum;
  }
  return spec.choices?.[0] ?? EXAMPLES[spec.kind] ?? (spec.name === "prompt" ? "a lighthouse at dusk" : "text");
}

function curlText(url, id, values) {
  const body = JSON.stringify({ model: id, ...values });
  return [
    `curl ${url}/v1/images/generations \\`,
    `  -H "Authorization: Bearer $PIXELFACTORY_API_KEY" \\`,
    `  -H "Content-Type: application/json" \\`,
    `  -d '${body.replaceAll("'", "'\\''")}'`,
  ].join("\n");
}

function sdkText(url, id, values) {
  const own = Object.entries(values).filter(([name]) => SDK_PARAMETERS.has(name));
  const extra = Object.fromEntries(Object.entries(values).filter(([name]) => !SDK_PARAMETERS.has(name)));
  const prompt = own.map(([name, value]) => `${name}=${python(value)}`)[0] ?? 'prompt=""';
  const lines = [`    model=${python(id)},`, `    ${prompt},`];
  if (Object.keys(extra).length) {
    lines.push(`    extra_body=${python(extra)},`);
  }
  return [
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${python(`${url}/v1`)}, api_key="pk-...")`,
    "result = client.images.generate(",
    ...lines,
    ")",
    "print(result.data[0].url)",
  ].join("\n");
}

/** Return a value as Python source. */
function python(value) {
  if (Array.isArray(value)) {
    return `[${value.map(python).join(", ")}]`;
  }
  if (value !== null && typeof value === "object") {
    return `{${Object.entries(value).map(([name, each]) => `${python(name)}: ${python(each)}`).join(", ")}}`;
  }
  if (typeof value === "boolean") {
    return value ? "True" : "False";
  }
  return JSON.stringify(value);
}

function codeSection(title, text) {
  const code = el("pre", {}, el("code", { textContent: text }));
  const copy = actionButton("Copy", () => navigator.clipboard?.writeText(text), "pf-copy");
  return section(title, el("div", { className: "pf-code" }, code, copy));
}
