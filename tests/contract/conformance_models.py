"""Scenarios of models: an upscaler, a sampler, a film. A real server runs them on tiny checkpoints."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from tests.contract.conformance_client import Graph, client
from tests.contract.conformance_files import film
from tests.contract.conformance_graphs import events, node, png

#: What goes with a prompt so that pictures of unfinished work are sent, or are not.
SHOWN: dict[str, Any] = {"extra_data": {"preview_method": "latent2rgb"}}
QUIET: dict[str, Any] = {"extra_data": {"preview_method": "none"}}
SAMPLER = {"cfg": 3.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}


def sampled(seed: int, steps: int = 3) -> Graph:
    links = {"positive": ["positive", 0], "negative": ["negative", 0], "latent_image": ["latent", 0]}
    return {
        "model": node("CheckpointLoaderSimple", ckpt_name="v1-5-pruned-emaonly-fp16.safetensors"),
        "positive": node("CLIPTextEncode", clip=["model", 1], text="a heron"),
        "negative": node("CLIPTextEncode", clip=["model", 1], text="blur"),
        "latent": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "sampler": node("KSampler", model=["model", 0], seed=seed, steps=steps, **links, **SAMPLER),
        "decoded": node("VAEDecode", samples=["sampler", 0], vae=["model", 2]),
        "saved": node("SaveImage", images=["decoded", 0], filename_prefix="sampled"),
    }


async def upscaled(url: str) -> Any:
    async with client(url) as user:
        await user.upload("small.png", png((200, 40, 10), (24, 16)), overwrite="true")
        prompt_id = await user.submit({
            "1": node("LoadImage", image="small.png"),
            "2": node("UpscaleModelLoader", model_name="4x-UltraSharp.pth"),
            "3": node("ImageUpscaleWithModel", upscale_model=["2", 0], image=["1", 0]),
            "4": node("SaveImage", images=["3", 0], filename_prefix="upscaled"),
        })  # fmt: skip
        heard = await user.hear_to_end(prompt_id)
        _, content = await user.get("/view", filename="upscaled_00001_.png")
    with Image.open(io.BytesIO(content)) as picture:
        colour = picture.convert("RGB").getpixel((48, 32))
        seen = [picture.size, [round(part / 32) for part in colour] if isinstance(colour, tuple) else None]
    return {"heard": heard, "picture": seen}


async def samplers(url: str) -> Any:
    """Steps with and without pictures, bare and described; another seed runs from the sampler on."""
    async with client(url) as user:
        bare = await user.hear_to_end(await user.submit(sampled(1), **SHOWN))
        # Of two steps both are told; of more, real servers leave out those that come too soon.
        quiet = await user.hear_to_end(await user.submit(sampled(2, steps=2), **QUIET))
    async with client(url, connected=False) as user:
        await user.connect({"supports_preview_metadata": True})
        described = await user.hear_to_end(await user.submit(sampled(3), **SHOWN))
    return {"bare": bare, "quiet": quiet, "described": described}


async def interrupted_sampler(url: str) -> Any:
    """An interrupted sampler stops at a step; its loaded models stay in memory."""
    async with client(url) as user:
        # The simulated sampler waits after its first step, so that it cannot finish before the interrupt.
        await user.arm_simulator_fault("hold_step")
        prompt_id = await user.submit(sampled(4, steps=10_000), **SHOWN)
        await user.hear_until("progress", prompt_id=prompt_id)
        await user.post("/interrupt", {"prompt_id": prompt_id})
        heard = await user.hear_to_end(prompt_id)
        again = await user.hear_to_end(await user.submit(sampled(5, steps=2), **QUIET))
    return {"last": events(heard)[-3:], "again": events(again)}


async def sampled_film(url: str) -> Any:
    links = {"positive": ["positive", 0], "negative": ["negative", 0], "latent_image": ["latent", 0]}
    clip = "umt5_xxl_fp8_e4m3fn_scaled.safetensors"
    unet = "wan2.1_t2v_1.3B_fp16.safetensors"
    graph = {
        "unet": node("UNETLoader", unet_name=unet, weight_dtype="default"),
        "model": node("ModelSamplingSD3", model=["unet", 0], shift=8.0),
        "clip": node("CLIPLoader", clip_name=clip, type="wan"),
        "vae": node("VAELoader", vae_name="wan_2.1_vae.safetensors"),
        "positive": node("CLIPTextEncode", clip=["clip", 0], text="a heron"),
        "negative": node("CLIPTextEncode", clip=["clip", 0], text="blur"),
        "latent": node("EmptyHunyuanLatentVideo", width=64, height=48, length=5, batch_size=1),
        "sampler": node("KSampler", model=["model", 0], seed=1, steps=2, **links, **SAMPLER),
        "decoded": node("VAEDecode", samples=["sampler", 0], vae=["vae", 0]),
        "made": node("CreateVideo", images=["decoded", 0], fps=16.0),
        "saved": node("SaveVideo", video=["made", 0], filename_prefix="film", format="mp4", codec="h264"),
    }
    async with client(url) as user:
        heard = await user.hear_to_end(await user.submit(graph, **QUIET))
        _, content = await user.get("/view", filename="film_00001_.mp4")
    return {"heard": heard, "film": film(content)[:6]}
