// The request of the form, or of a job, as code that runs: curl, Python and JavaScript.

/** @import { Params } from "../types.d.ts" */

/** Parameters that hold files: the code reads them from disk. */
const FILE_NAMES = /** @type {Record<string, string>} */ ({ image: "image.png", mask: "mask.png", video: "video.mp4", audio: "audio.wav" });

/**
 * @typedef {object} Sample
 * @property {string} origin Address of the service.
 * @property {string} model
 * @property {Params} params Without files.
 * @property {string[]} files Names of the parameters that hold files.
 */

/** @type {Record<string, (sample: Sample) => string>} By language. */
export const LANGUAGES = { curl: toCurl, Python: toPython, JavaScript: toJavaScript };

/** @param {string} name */
const fileName = (name) => FILE_NAMES[name] ?? `${name}.png`;

/** @param {Sample} sample */
const runUrl = ({ origin, model }) => `${origin}/api/v1/models/${encodeURIComponent(model)}/run`;

/** @param {string} text */
const shellQuoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** @param {Sample} sample */
function toCurl(sample) {
  const { origin, params, files } = sample;
  const body = JSON.stringify(params, null, 2);
  const sources = files.map((name) => `--rawfile ${name} <(base64 < ${fileName(name)} | tr -d '\\n')`);
  const fields = files.map((name) => `${name}: ("data:;base64," + $${name})`).join(", ");
  const request = files.length
    ? [`body=$(jq -n ${sources.join(" ")} \\`, `  ${shellQuoted(`${body} + {${fields}}`)})`]
    : [`body=${shellQuoted(body)}`];
  return [
    `# Needs ${files.length ? "bash, curl, base64 and jq" : "curl and jq"}, and your key in PIXELFACTORY_API_KEY.`,
    "set -eu",
    `auth="Authorization: Bearer $PIXELFACTORY_API_KEY"`,
    ...request,
    `job=$(printf '%s' "$body" | curl -sS --fail-with-body -H "$auth" -H 'Content-Type: application/json' \\`,
    `  --data-binary @- ${shellQuoted(runUrl(sample))} | jq -r .jobId)`,
    "while :; do",
    `  state=$(curl -sS --fail-with-body -H "$auth" "${origin}/api/v1/jobs/$job")`,
    `  case $(printf '%s' "$state" | jq -r .status) in pending | processing) sleep 1 ;; *) break ;; esac`,
    "done",
    `printf '%s' "$state" | jq -r 'if .status == "completed" then .assets[].url else error(.error.message // .status) end'`,
    "",
  ].join("\n");
}

/** @param {Sample} sample */
function toPython(sample) {
  const { origin, params, files } = sample;
  const uploads = files.map((name) => `body["${name}"] = read_file("${fileName(name)}")`);
  const reader = [
    "def read_file(path):",
    "    with open(path, \"rb\") as file:",
    "        return \"data:;base64,\" + base64.b64encode(file.read()).decode()",
    "",
    "",
  ];
  return [
    "# Needs only Python 3, and your key in PIXELFACTORY_API_KEY.",
    ...(files.length ? ["import base64"] : []),
    "import json",
    "import os",
    "import time",
    "import urllib.request",
    "",
    `API = ${JSON.stringify(`${origin}/api/v1`)}`,
    "",
    "",
    "def request(path, body=None):",
    "    headers = {",
    `        "Authorization": "Bearer " + os.environ["PIXELFACTORY_API_KEY"],`,
    `        "Content-Type": "application/json",`,
    "    }",
    "    data = None if body is None else json.dumps(body).encode()",
    "    with urllib.request.urlopen(urllib.request.Request(API + path, data, headers)) as response:",
    "        return json.load(response)",
    "",
    "",
    ...(files.length ? reader : []),
    `body = json.loads(${JSON.stringify(JSON.stringify(params))})`,
    ...uploads,
    `job = request(${JSON.stringify(`/models/${encodeURIComponent(sample.model)}/run`)}, body)`,
    `while job["status"] in ("pending", "processing"):`,
    "    time.sleep(1)",
    `    job = request("/jobs/" + job["jobId"])`,
    `if job["status"] != "completed":`,
    `    raise SystemExit((job["error"] or {}).get("message", job["status"]))`,
    `for asset in job["assets"]:`,
    `    print(asset["url"])`,
    "",
  ].join("\n");
}

/** @param {Sample} sample */
function toJavaScript(sample) {
  const { origin, params, files } = sample;
  const uploads = files.map((name) => `body.${name} = "data:;base64," + readFileSync("${fileName(name)}", "base64");`);
  return [
    "// Needs Node.js 18 or later, and your key in PIXELFACTORY_API_KEY. Run it as a module: node sample.mjs",
    ...(files.length ? [`import { readFileSync } from "node:fs";`] : []),
    "",
    `const API = ${JSON.stringify(`${origin}/api/v1`)};`,
    "",
    "async function request(path, body) {",
    "  const response = await fetch(API + path, {",
    `    method: body ? "POST" : "GET",`,
    "    headers: { Authorization: `Bearer ${process.env.PIXELFACTORY_API_KEY}`, \"Content-Type\": \"application/json\" },",
    "    body: body && JSON.stringify(body),",
    "  });",
    "  if (!response.ok) throw new Error(await response.text());",
    "  return response.json();",
    "}",
    "",
    `const body = ${JSON.stringify(params, null, 2)};`,
    ...uploads,
    `let job = await request(${JSON.stringify(`/models/${encodeURIComponent(sample.model)}/run`)}, body);`,
    `while (["pending", "processing"].includes(job.status)) {`,
    "  await new Promise((resolve) => setTimeout(resolve, 1000));",
    "  job = await request(`/jobs/${job.jobId}`);",
    "}",
    `if (job.status !== "completed") throw new Error(job.error?.message ?? job.status);`,
    "for (const asset of job.assets) console.log(asset.url);",
    "",
  ].join("\n");
}
