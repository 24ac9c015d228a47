"""The official package for Node.js: edits, streams and videos."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.images import png, size_of
from tests.support.node_project import run_node
from tests.support.service import ServiceProcess
from tests.support.videos import film

CLIENT = """
import fs from "node:fs";
import OpenAI, { toFile } from "openai";
const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.API_KEY, maxRetries: 0 });
const save = (name, text) => fs.writeFileSync(name, Buffer.from(text, "base64"));
const picture = (name) => toFile(fs.createReadStream(name), name, { type: "image/png" });
"""

PICTURES = """
const edited = await client.images.edit({ image: await picture("one.png"), prompt: "at night" });
const both = [await picture("one.png"), await picture("two.png")];
const joined = await client.images.edit({ image: both, prompt: "together", output_format: "jpeg" });
save("joined.jpg", joined.data[0].b64_json);
const varied = await client.images.createVariation({ image: await picture("one.png"), size: "512x512" });
const types = [];
const slow = { model: "sdxl-1.0", size: "1024x768", steps: 100 };
const asked = { ...slow, prompt: "a cat", stream: true, partial_images: 2 };
for await (const event of await client.images.generate(asked)) {
  types.push(event.type);
  save(`${types.length}.png`, event.b64_json);
}
let refused;
try { await client.images.edit({ image: both, model: "flux-1-kontext-dev", prompt: "a" }); }
catch (error) { refused = [error.constructor.name, error.status, error.code, error.param]; }
const models = [edited, joined, varied].map((made) => made.usage.model);
console.log(JSON.stringify({ models, types, refused }));
"""

VIDEOS = """
let video = await client.videos.create({
  prompt: "zoom in", size: "256x256", num_frames: 9, input_reference: await picture("one.png"),
});
const first = video.status;
while (video.status === "queued" || video.status === "in_progress") {
  await new Promise((resolve) => setTimeout(resolve, 50));
  video = await client.videos.retrieve(video.id);
}
const content = await client.videos.downloadContent(video.id);
fs.writeFileSync("film.mp4", Buffer.from(await content.arrayBuffer()));
const part = await client.videos.downloadContent(video.id, {}, { headers: { Range: "bytes=0-9" } });
const remix = await client.videos.remix(video.id, { prompt: "zoom out" });
const listed = [];
for await (const each of client.videos.list({ limit: 1 })) listed.push(each.id);
const deleted = await client.videos.delete(remix.id);
const told = { first, video, part: part.status, remix, listed, deleted };
console.log(JSON.stringify(told));
"""


def test_edits_and_streams_images(paced: ServiceProcess, paced_key: str, node_project: Path) -> None:
    (node_project / "one.png").write_bytes(png(64, 64))
    (node_project / "two.png").write_bytes(png(80, 64))
    script = CLIENT + PICTURES
    told = json.loads(run_node(node_project, script, BASE_URL=f"{paced.url}/v1", API_KEY=paced_key))
    assert told["models"] == ["flux-1-kontext-dev", "qwen-image-edit", "flux-1-redux-dev"]
    assert (node_project / "joined.jpg").read_bytes().startswith(b"\xff\xd8")
    partial, done = "image_generation.partial_image", "image_generation.completed"
    assert told["types"] == [partial, partial, done]
    assert size_of((node_project / "3.png").read_bytes()) == (1024, 768)
    assert told["refused"] == ["BadRequestError", 400, "too_many_images", "image"]


@pytest.mark.slow
def test_makes_videos(service: ServiceProcess, node_project: Path) -> None:
    (node_project / "one.png").write_bytes(png(256, 256))
    script, key = CLIENT + VIDEOS, service.key("1.00")
    told = json.loads(run_node(node_project, script, BASE_URL=f"{service.url}/v1", API_KEY=key))
    assert told["first"] in ("queued", "in_progress")
    assert (told["video"]["status"], told["video"]["model"]) == ("completed", "wan2.1-i2v-480p")
    assert film((node_project / "film.mp4").read_bytes()).frames == 9
    assert told["part"] == 206
    assert told["remix"]["remixed_from_video_id"] == told["video"]["id"]
    assert told["listed"] == [told["remix"]["id"], told["video"]["id"]]
    assert told["deleted"] == {"id": told["remix"]["id"], "object": "video.deleted", "deleted": True}
