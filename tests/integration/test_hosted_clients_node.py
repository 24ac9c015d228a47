"""The JavaScript clients of hosts of models, and their providers in Vercel's AI SDK, unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.images import png, png_white_in_the_middle, size_of
from tests.support.node_project import run_node
from tests.support.service import ServiceProcess
from tests.support.videos import film

REPLICATE = """
import fs from "node:fs";
import Replicate, { parseProgressFromLogs } from "replicate";
const [baseUrl, auth] = [process.env.BASE_URL, process.env.API_KEY];
const replicate = new Replicate({ baseUrl, auth, useFileOutput: false });
const save = async (name, url) => {
  fs.writeFileSync(name, Buffer.from(await (await fetch(url)).arrayBuffer()));
};
const schnell = "black-forest-labs/flux-schnell";
const input = { prompt: "a cat", width: 256, height: 256, seed: 7 };
const seen = [];
const two = { input: { ...input, num_outputs: 2 } };
const urls = await replicate.run(schnell, two, (one) => seen.push(one.status));
await save("first.png", urls[0]);
const version = (await replicate.models.get("black-forest-labs", "flux-schnell")).latest_version.id;
const versions = await replicate.models.versions.list("black-forest-labs", "flux-schnell");
const polled = await replicate.run(`${schnell}:${version}`, { input, wait: { mode: "poll", interval: 20 } });
const upscaled = await replicate.run("pixel-factory/4x-ultrasharp", {
  input: { image: fs.readFileSync("one.png") },
});
await save("upscaled.png", upscaled[0]);
const encoding = new Replicate({ baseUrl, auth, fileEncodingStrategy: "data-uri" });
let encoded;
try { await encoding.run("pixel-factory/4x-ultrasharp", { input: { image: fs.readFileSync("one.png") } }); }
catch (error) { encoded = error.message; }
const events = [];
for await (const event of replicate.stream(schnell, { input })) events.push([event.event, `${event}`]);
let prediction = await replicate.predictions.create({ model: schnell, input });
prediction = await replicate.wait(prediction, { interval: 20 });
const cancelled = await replicate.predictions.cancel(prediction.id);
const listed = [];
for await (const page of replicate.paginate(replicate.predictions.list)) {
  listed.push(...page.map((one) => one.id));
}
const file = await replicate.files.create(new Blob(["abc"], { type: "text/plain" }), { a: 1 });
const files = (await replicate.files.list()).results.length;
const deleted = await replicate.files.delete(file.id);
let refused;
try { await replicate.run(schnell, { input: { prompt: "a", hocus: 1 } }); }
catch (error) { refused = [error.name, error.response.status, error.message]; }
console.log(JSON.stringify({
  seen, count: urls.length, same: versions.results[0].id === version, polled: polled.length, events,
  progress: parseProgressFromLogs(prediction), status: cancelled.status, listed: listed.length,
  metadata: file.metadata, files, deleted, refused, encoded,
}));
"""

AI_SDK = """
import fs from "node:fs";
import { generateImage } from "ai";
import { createReplicate } from "@ai-sdk/replicate";
const replicate = createReplicate({ baseURL: process.env.BASE_URL, apiToken: process.env.API_KEY });
const save = (name, image) => fs.writeFileSync(name, image.uint8Array);
const [one, two, mask] = ["one.png", "two.png", "mask.png"].map((name) => fs.readFileSync(name));
const made = await generateImage({
  model: replicate.image("black-forest-labs/flux-schnell"), prompt: "a cat", aspectRatio: "16:9", seed: 7,
  providerOptions: { replicate: { num_inference_steps: 2, output_format: "webp", output_quality: 80 } },
});
save("made.webp", made.image);
save("sized.png", (await generateImage({
  model: replicate.image("stability-ai/sdxl"), prompt: "a cat", size: "512x256", n: 1,
})).image);
save("filled.png", (await generateImage({
  model: replicate.image("black-forest-labs/flux-fill-dev"), prompt: { text: "a hat", images: [one], mask },
})).image);
save("joined.png", (await generateImage({
  model: replicate.image("black-forest-labs/flux-2-dev"), prompt: { text: "together", images: [one, two] },
})).image);
let refused;
try {
  await generateImage({ model: replicate.image("unknown/nothing"), prompt: "a", maxRetries: 0 });
} catch (error) { refused = [error.name, error.statusCode, error.message]; }
console.log(JSON.stringify({ warnings: made.warnings, refused }));
"""


FAL = """
import fs from "node:fs";
import { fal } from "@fal-ai/client";
const base = process.env.BASE_URL;
const hosts = {
  "https://fal.run": base, "https://queue.fal.run": `${base}/queue`, "https://rest.fal.ai": base,
};
const requestMiddleware = async (request) => {
  const [from, to] = Object.entries(hosts).find(([host]) => request.url.startsWith(host + "/")) ?? ["", ""];
  return { ...request, url: to + request.url.slice(from.length) };
};
fal.config({ credentials: process.env.API_KEY, requestMiddleware, suppressLocalCredentialsWarning: true });
const schnell = "fal-ai/flux/schnell";
const input = { prompt: "a cat", image_size: { width: 256, height: 256 }, seed: 7 };
const save = async (name, url) => {
  fs.writeFileSync(name, Buffer.from(await (await fetch(url)).arrayBuffer()));
};
const ran = await fal.run(schnell, { input: { ...input, num_images: 2 } });
await save("first.png", ran.data.images[0].url);
const updates = [];
const subscribed = await fal.subscribe(schnell, {
  input, logs: true, pollInterval: 50, onQueueUpdate: (update) => updates.push(update.status),
});
const streamed = await fal.subscribe(schnell, { input, mode: "streaming" });
const queued = await fal.queue.submit("fal-ai/fast-sdxl", { input });
await fal.queue.subscribeToStatus("fal-ai/fast-sdxl", { requestId: queued.request_id, pollInterval: 50 });
const result = await fal.queue.result("fal-ai/fast-sdxl", { requestId: queued.request_id });
const file = new File([fs.readFileSync("one.png")], "one.png", { type: "image/png" });
const uploaded = await fal.storage.upload(file);
const upscaled = await fal.run("pixel-factory/4x-ultrasharp", { input: { image_url: uploaded } });
await save("upscaled.png", upscaled.data.image.url);
const inputs = await fal.run("pixel-factory/4x-ultrasharp", { input: { image_url: file } });
const stream = await fal.stream(schnell, { input, connectionMode: "server" });
for await (const event of stream) { void event; }
const last = await stream.done();
let late, refused;
try { await fal.queue.cancel(schnell, { requestId: subscribed.requestId }); }
catch (error) { late = [error.status, error.body.status]; }
try { await fal.run(schnell, { input: { prompt: "a", hocus: 1 } }); }
catch (error) { refused = [error.name, error.status, error.body.detail[0].loc]; }
console.log(JSON.stringify({
  count: ran.data.images.length, seed: ran.data.seed, id: ran.requestId, updates,
  streamed: streamed.data.images.length, result: result.data.images.length, inputs: inputs.data.image.width,
  last: last.images.length, late, refused,
}));
"""

AI_SDK_FAL = """
import fs from "node:fs";
import { experimental_generateVideo as generateVideo, generateImage } from "ai";
import { createFal } from "@ai-sdk/fal";
const { BASE_URL: base, API_KEY: apiKey } = process.env;
const toService = (address, init) => {
  const ours = String(address).replace("https://queue.fal.run/", `${base}/queue/`);
  const headers = new Headers(init?.headers);
  if (ours.startsWith(`${base}/`)) headers.set("Authorization", `Key ${apiKey}`);
  return fetch(ours, { ...init, headers });
};
const fal = createFal({ baseURL: base, apiKey, fetch: toService });
// The SDK's own download refuses private addresses.
const download = async ({ url }) => {
  const response = await fetch(url);
  return { data: new Uint8Array(await response.arrayBuffer()), mediaType: "video/mp4" };
};
const save = (name, image) => fs.writeFileSync(name, image.uint8Array);
const [one, mask] = ["one.png", "mask.png"].map((name) => fs.readFileSync(name));
const made = await generateImage({
  model: fal.image("fal-ai/flux/schnell"), prompt: "a cat", aspectRatio: "16:9", seed: 7, n: 2,
});
save("made.png", made.images[1]);
save("sized.png", (await generateImage({
  model: fal.image("fal-ai/fast-sdxl"), prompt: "a cat", size: "512x256",
})).image);
save("filled.png", (await generateImage({
  model: fal.image("pixel-factory/flux-1-fill-dev"), prompt: { text: "a hat", images: [one], mask },
})).image);
const { video, warnings } = await generateVideo({
  model: fal.video("wan2.1-t2v-fast"), prompt: "waves", aspectRatio: "16:9", duration: 1, seed: 7, download,
  providerOptions: { fal: { pollIntervalMs: 50 } },
});
fs.writeFileSync("waves.mp4", video.uint8Array);
let refused;
try {
  await generateImage({ model: fal.image("unknown/nothing"), prompt: "a", maxRetries: 0 });
} catch (error) { refused = [error.name, error.statusCode, error.message]; }
const warned = [...made.warnings, ...warnings];
console.log(JSON.stringify({ count: made.images.length, warnings: warned, refused }));
"""


def write_images(directory: Path) -> None:
    (directory / "one.png").write_bytes(png(512, 384))
    (directory / "two.png").write_bytes(png(384, 384))
    (directory / "mask.png").write_bytes(png_white_in_the_middle(512, 384))


def check_filled(directory: Path) -> None:
    """Check that the white part of the mask was redrawn, and nothing else."""
    with Image.open(directory / "filled.png") as filled, Image.open(directory / "one.png") as sent:
        assert filled.size == sent.size
        pixels = [picture.convert("RGB") for picture in (filled, sent)]
        outside, inside = ([picture.getpixel(place) for picture in pixels] for place in ((8, 8), (190, 150)))
    assert outside[0] == outside[1]
    assert inside[0] != inside[1]


def size_of_file(path: Path) -> tuple[int, int]:
    return size_of(path.read_bytes())


def run(offering: ServiceProcess, project: Path, script: str, base: str) -> dict[str, Any]:
    write_images(project)
    variables = {"BASE_URL": f"{offering.url}{base}", "API_KEY": offering.key("10.00")}
    return dict(json.loads(run_node(project, script, **variables).splitlines()[-1]))


def test_replicate_runs_streams_lists_and_uploads(offering: ServiceProcess, node_project: Path) -> None:
    reported = run(offering, node_project, REPLICATE, "/v1")
    assert size_of_file(node_project / "first.png") == (256, 256)
    assert size_of_file(node_project / "upscaled.png") == (2048, 1536)
    assert (reported["seen"][-1], reported["count"], reported["same"], reported["polled"]) == (
        "succeeded",
        2,
        True,
        1,
    )
    kinds = [kind for kind, _ in reported["events"]]
    assert (kinds[-1], kinds.count("output")) == ("done", 1)
    assert reported["progress"]["percentage"] == 1
    # A finished prediction stays what it is.
    assert reported["status"] == "succeeded"
    assert reported["listed"] == 5
    assert (reported["metadata"], reported["files"], reported["deleted"]) == ({"a": 1}, 2, True)
    name, status, message = reported["refused"]
    assert (name, status) == ("ApiError", 422)
    assert "hocus" in message
    # Its version 1.4 sends its own settings for the input then.
    assert "holds the settings of the client" in reported["encoded"]


@pytest.mark.slow
def test_the_ai_sdk_makes_and_edits_images_by_replicates_api(
    offering: ServiceProcess, node_project: Path
) -> None:
    reported = run(offering, node_project, AI_SDK, "/v1")
    assert (node_project / "made.webp").read_bytes().startswith(b"RIFF")
    width, height = size_of_file(node_project / "made.webp")
    assert width / height == 16 / 9
    assert size_of_file(node_project / "sized.png") == (512, 256)
    check_filled(node_project)
    assert size_of_file(node_project / "joined.png") == (512, 384)
    assert reported["warnings"] == []
    name, status, message = reported["refused"]
    assert (name, status) == ("AI_APICallError", 404)
    assert "unknown/nothing" in message


def test_fals_client_runs_follows_streams_and_uploads(offering: ServiceProcess, node_project: Path) -> None:
    reported = run(offering, node_project, FAL, "/fal")
    assert size_of_file(node_project / "first.png") == (256, 256)
    assert size_of_file(node_project / "upscaled.png") == (2048, 1536)
    assert (reported["count"], reported["seed"], reported["updates"][-1]) == (2, 7, "COMPLETED")
    assert reported["id"]
    assert (reported["streamed"], reported["result"], reported["last"], reported["inputs"]) == (1, 1, 1, 2048)
    assert reported["late"] == [400, "ALREADY_COMPLETED"]
    assert reported["refused"] == ["ValidationError", 422, ["body", "hocus"]]


@pytest.mark.slow
def test_the_ai_sdk_makes_images_and_a_video_by_fals_api(
    offering: ServiceProcess, node_project: Path
) -> None:
    reported = run(offering, node_project, AI_SDK_FAL, "/fal")
    width, height = size_of_file(node_project / "made.png")
    assert width / height == pytest.approx(16 / 9, rel=0.02)
    assert size_of_file(node_project / "sized.png") == (512, 256)
    check_filled(node_project)
    assert film((node_project / "waves.mp4").read_bytes()).frames == 16
    assert (reported["count"], reported["warnings"]) == (2, [])
    name, status, message = reported["refused"]
    assert (name, status) == ("AI_APICallError", 404)
    assert "unknown/nothing" in message
