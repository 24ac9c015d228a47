"""Client libraries from their registries, unchanged: only the address and the key are ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.images import png, png_with_hole, size_of
from tests.support.node_project import run_node
from tests.support.python_client import require_client, run_python
from tests.support.service import ServiceProcess

LITELLM = """
import asyncio, base64, json, pathlib
import litellm
from litellm import aimage_edit, aimage_generation, image_edit, image_generation

def save(name, response):
    pathlib.Path(name).write_bytes(base64.b64decode(response.data[0].b64_json))

made = image_generation(model="openai/flux-1-schnell", prompt="a cat", size="512x256", seed=7)
save("made.png", made)
linked = image_generation(model="openai/dall-e-3", prompt="a cat", size="1024x1024", quality="hd")

async def more():
    two = await aimage_generation(model="openai/gpt-image-1", prompt="a cat", n=2, size="1024x1536")
    edited = await aimage_edit(
        model="openai/gpt-image-1", prompt="a hat", image=[open("one.png", "rb"), open("two.png", "rb")]
    )
    save("edited.png", edited)
    try:
        await aimage_generation(model="openai/flux-1-schnell", prompt="a cat", size="1x1")
    except litellm.BadRequestError as error:
        return len(two.data), error.message

images, refused = asyncio.run(more())
masked = image_edit(
    model="openai/gpt-image-1", prompt="a hat", image=open("one.png", "rb"), mask=open("mask.png", "rb")
)
save("masked.png", masked)
router = litellm.Router(
    model_list=[{"model_name": "pictures", "litellm_params": {"model": "openai/flux-1-schnell"}}]
)
routed = router.image_generation(model="pictures", prompt="a cat", size="256x256")
save("routed.png", routed)
print(json.dumps({"url": linked.data[0].url, "images": images, "refused": refused}))
"""

LANGCHAIN = """
import json
from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper

by_default = DallEAPIWrapper()
two = DallEAPIWrapper(model="dall-e-3", n=2, size="1792x1024", quality="hd")
print(json.dumps([by_default.run("a cat"), *two.run("a lighthouse").split("\\n")]))
"""

AI_SDK = """
import fs from "node:fs";
import { generateImage } from "ai";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
const [baseURL, apiKey] = [process.env.BASE_URL, process.env.API_KEY];
const openai = createOpenAI({ baseURL, apiKey });
const own = createOpenAICompatible({ name: "pixelFactory", baseURL, apiKey });
const save = (name, image) => fs.writeFileSync(name, image.uint8Array);
const [one, two, mask] = ["one.png", "two.png", "mask.png"].map((name) => fs.readFileSync(name));

const made = await generateImage({
  model: openai.image("gpt-image-1"), prompt: "a cat", size: "1536x1024", n: 2,
  providerOptions: { openai: { quality: "low", background: "opaque", outputFormat: "webp", user: "u1" } },
});
save("made.webp", made.images[0]);
save("dall-e.png", (await generateImage({
  model: openai.image("dall-e-3"), prompt: "a cat", size: "1024x1024",
  providerOptions: { openai: { style: "natural", quality: "hd" } },
})).image);
save("joined.png", (await generateImage({
  model: openai.image("gpt-image-1"), prompt: { text: "together", images: [one, two] },
})).image);
save("masked.png", (await generateImage({
  model: openai.image("gpt-image-1"), prompt: { text: "a hat", images: [one], mask },
})).image);
const ten = await generateImage({
  model: own.imageModel("flux-1-schnell"), prompt: "a cat", size: "256x256", n: 10,
  providerOptions: { pixelFactory: { seed: 7, steps: 2 } },
});
const same = await generateImage({
  model: own.imageModel("flux-1-schnell"), prompt: "a cat", size: "256x256",
  providerOptions: { pixelFactory: { seed: 7, steps: 2 } },
});
save("compatible.png", (await generateImage({
  model: own.imageModel("qwen-image-edit"), prompt: { text: "a hat", images: [one] },
})).image);
let refused;
try { await generateImage({ model: own.imageModel("no-such-model"), prompt: "a", maxRetries: 0 }); }
catch (error) { refused = [error.name, error.statusCode, error.message]; }
console.log(JSON.stringify({
  made: made.images.length, warnings: made.warnings, usage: made.usage,
  metadata: made.providerMetadata.openai.images[0],
  different: new Set(ten.images.map((image) => image.base64)).size,
  same: same.image.base64 === ten.images[0].base64, refused,
}));
"""


def environment(offering: ServiceProcess) -> dict[str, str]:
    """The settings that OpenAI's libraries, and those built on them, read."""
    url = f"{offering.url}/v1"
    return {"OPENAI_API_KEY": offering.key("5.00"), "OPENAI_BASE_URL": url, "OPENAI_API_BASE": url}


def write_images(directory: Path) -> None:
    (directory / "one.png").write_bytes(png(512, 384))
    (directory / "two.png").write_bytes(png(384, 384))
    (directory / "mask.png").write_bytes(png_with_hole(512, 384))


def size_of_file(path: Path) -> tuple[int, int]:
    return size_of(path.read_bytes())


@pytest.mark.slow
def test_litellm_makes_and_edits_images(offering: ServiceProcess, tmp_path: Path) -> None:
    require_client("litellm")
    write_images(tmp_path)
    local = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    printed = run_python(tmp_path, LITELLM, **environment(offering), **local)
    told = json.loads(printed.splitlines()[-1])  # LiteLLM itself prints advice before an error.
    assert size_of_file(tmp_path / "made.png") == (512, 256)
    assert size_of_file(tmp_path / "edited.png") == (512, 384)
    assert size_of_file(tmp_path / "masked.png") == (512, 384)
    assert size_of_file(tmp_path / "routed.png") == (256, 256)
    assert size_of(httpx.get(told["url"]).content) == (1024, 1024)
    assert told["images"] == 2
    assert "the nearest sizes are 16x16 and 24x24" in told["refused"]


@pytest.mark.slow
def test_langchain_reads_urls(offering: ServiceProcess, tmp_path: Path) -> None:
    require_client("langchain_community")
    urls = json.loads(run_python(tmp_path, LANGCHAIN, **environment(offering)))
    sizes = [size_of(httpx.get(url).content) for url in urls]
    assert sizes == [(1024, 1024), (1792, 1024), (1792, 1024)]


@pytest.fixture(scope="module")
def ai_sdk(offering: ServiceProcess, node_project: Path) -> dict[str, Any]:
    """What Vercel's AI SDK tells of its requests; its images are files of the project."""
    write_images(node_project)
    variables = {"BASE_URL": f"{offering.url}/v1", "API_KEY": offering.key("5.00")}
    return dict(json.loads(run_node(node_project, AI_SDK, **variables)))


@pytest.mark.slow
def test_the_ai_sdk_makes_and_edits_images(ai_sdk: dict[str, Any], node_project: Path) -> None:
    assert (node_project / "made.webp").read_bytes().startswith(b"RIFF")
    assert size_of_file(node_project / "made.webp") == (1536, 1024)
    assert size_of_file(node_project / "dall-e.png") == (1024, 1024)
    assert size_of_file(node_project / "joined.png") == (512, 384)
    assert size_of_file(node_project / "masked.png") == (512, 384)
    assert (ai_sdk["made"], ai_sdk["warnings"]) == (2, [])
    assert ai_sdk["metadata"]["size"] == "1536x1024"
    assert ai_sdk["metadata"]["outputFormat"] == "webp"


def test_the_ai_sdk_takes_the_service_for_a_server_like_openais(
    ai_sdk: dict[str, Any], node_project: Path
) -> None:
    assert (ai_sdk["different"], ai_sdk["same"]) == (10, True)
    assert size_of_file(node_project / "compatible.png") == (512, 384)
    name, status, message = ai_sdk["refused"]
    assert (name, status) == ("AI_APICallError", 400)
    assert "no-such-model" in message
