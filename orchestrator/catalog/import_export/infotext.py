"""Propose a graph for the parameters that A1111 and its forks write into images ("infotext").

The text is the prompt, then `Negative prompt: ...`, then a line of settings, `Steps: 20, Size: 512x768`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.catalog.rendering.graph import ApiGraph

_SETTING_PATTERN = re.compile(r'\s*([A-Za-z][\w /-]*?):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)')
_NEGATIVE_MARK = "Negative prompt:"
_LORA_PATTERN = re.compile(r"<(?:lora|lyco):([^:<>]+)(?::(-?[\d.]+))?[^<>]*>")
_SIZE_PATTERN = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")

# A1111's name of a sampler, in lower case and without its schedule -> ComfyUI's.
_SAMPLERS = {
    "euler": "euler",
    "euler a": "euler_ancestral",
    "heun": "heun",
    "dpm2": "dpm_2",
    "dpm2 a": "dpm_2_ancestral",
    "lms": "lms",
    "dpm fast": "dpm_fast",
    "dpm adaptive": "dpm_adaptive",
    "dpm++ 2s a": "dpmpp_2s_ancestral",
    "dpm++ 2m": "dpmpp_2m",
    "dpm++ sde": "dpmpp_sde",
    "dpm++ 2m sde": "dpmpp_2m_sde",
    "dpm++ 2m sde heun": "dpmpp_2m_sde_heun",
    "dpm++ 3m sde": "dpmpp_3m_sde",
    "ddim": "ddim",
    "ddpm": "ddpm",
    "lcm": "lcm",
    "unipc": "uni_pc",
    "restart": "res_multistep",
}
_SCHEDULERS = {
    "karras": "karras",
    "exponential": "exponential",
    "sgm uniform": "sgm_uniform",
    "simple": "simple",
    "normal": "normal",
    "ddim": "ddim_uniform",
    "beta": "beta",
    "kl optimal": "kl_optimal",
}
#: Settings that the proposed graph represents, or that have no effect on the picture.
_REPRESENTED = frozenset(
    {"steps", "sampler", "schedule type", "cfg scale", "seed", "size", "model", "model hash", "clip skip"}
    | {"version", "lora hashes", "ti hashes", "hashes", "vae hash", "rng"}
)


@dataclass(frozen=True, slots=True)
class Infotext:
    """The parsed parameters of a picture."""

    prompt: str
    negative_prompt: str
    #: Setting -> value, with names in lower case.
    settings: Mapping[str, str]
    #: LoRAs of the prompt: name and strength.
    loras: tuple[tuple[str, float], ...] = field(default=())

    def integer(self, name: str, default: int) -> int:
        text = self.settings.get(name, "")
        return int(text) if re.fullmatch(r"\d{1,20}", text) else default

    def number(self, name: str, default: float) -> float:
        text = self.settings.get(name, "")
        return float(text) if re.fullmatch(r"\d{1,4}(\.\d{1,6})?", text) else default


def parse_infotext(text: str) -> Infotext | None:
    """Parse the parameters of an image; None if the text has no settings."""
    lines = text.strip().splitlines()
    rows = [dict(_SETTING_PATTERN.findall(line)) for line in lines[-1:]]
    settings = {name.strip().lower(): value.strip().strip('"') for row in rows for name, value in row.items()}
    if "steps" not in settings:
        return None
    prompt, _, negative = "\n".join(lines[:-1]).partition(_NEGATIVE_MARK)
    loras = tuple((name, float(strength or 1)) for name, strength in _LORA_PATTERN.findall(prompt))
    plain = " ".join(_LORA_PATTERN.sub("", prompt).split(" ")).strip().strip(",").strip()
    return Infotext(plain, negative.strip(), settings, loras)


def propose_graph(info: Infotext) -> tuple[ApiGraph, list[str]]:
    """Return a graph in API format that makes such a picture, and notes on what it leaves out."""
    sampler, scheduler, notes = _find_sampler(info)
    size = _SIZE_PATTERN.fullmatch(info.settings.get("size", ""))
    width, height = (int(size[1]), int(size[2])) if size else (512, 512)
    model = info.settings.get("model", "")
    checkpoint = f"{model}.safetensors" if model else "model.safetensors"
    graph: ApiGraph = {"checkpoint": _node("CheckpointLoaderSimple", ckpt_name=checkpoint)}
    model_link, clip_link = ["checkpoint", 0], ["checkpoint", 1]
    for number, (name, strength) in enumerate(info.loras, start=1):
        graph[f"lora_{number}"] = _node(
            "LoraLoader",
            lora_name=f"{name}.safetensors",
            strength_model=strength,
            strength_clip=strength,
            model=model_link,
            clip=clip_link,
        )
        model_link, clip_link = [f"lora_{number}", 0], [f"lora_{number}", 1]
    skipped = info.integer("clip skip", 1)
    if skipped > 1:
        graph["clip_skip"] = _node("CLIPSetLastLayer", stop_at_clip_layer=-min(skipped, 24), clip=clip_link)
        clip_link = ["clip_skip", 0]
    graph["positive"] = _node("CLIPTextEncode", text=info.prompt, clip=clip_link)
    graph["negative"] = _node("CLIPTextEncode", text=info.negative_prompt, clip=clip_link)
    graph["latent"] = _node("EmptyLatentImage", width=width, height=height, batch_size=1)
    graph["sampler"] = _node(
        "KSampler",
        seed=info.integer("seed", 0),
        steps=info.integer("steps", 20),
        cfg=info.number("cfg scale", 7.0),
        sampler_name=sampler,
        scheduler=scheduler,
        denoise=1.0,
        model=model_link,
        positive=["positive", 0],
        negative=["negative", 0],
        latent_image=["latent", 0],
    )
    graph["decode"] = _node("VAEDecode", samples=["sampler", 0], vae=["checkpoint", 2])
    graph["save"] = _node("SaveImage", images=["decode", 0], filename_prefix="")
    return graph, [*_proposal_notes(info, checkpoint), *notes]


def _proposal_notes(info: Infotext, checkpoint: str) -> list[str]:
    notes = [
        "whether the graph makes the same image: it is proposed from the parameters of A1111 in the file,"
        f" with the checkpoint {checkpoint}"
    ]
    left_out = [name for name in info.settings if name not in _REPRESENTED]
    if left_out:
        listed = ", ".join(f"{name}: {info.settings[name]}" for name in left_out)
        notes.append(f"nodes for settings of A1111 that the proposed graph leaves out: {listed[:500]}")
    return notes


def _find_sampler(info: Infotext) -> tuple[str, str, list[str]]:
    """Return ComfyUI's names of the sampler and the scheduler, and a note if one is not known."""
    name = " ".join(info.settings.get("sampler", "Euler").lower().split())
    schedule = info.settings.get("schedule type", "").lower()
    # Older versions write both into one setting: "DPM++ 2M SDE Karras".
    for known in () if schedule else _SCHEDULERS:
        if name.endswith(f" {known}"):
            name, schedule = name.removesuffix(f" {known}"), known
    known_name = _SAMPLERS.get(name)
    known_schedule = _SCHEDULERS.get(schedule, "normal")
    missing = [] if known_name else [f"the sampler {name}"]
    if schedule not in ("", "automatic", "uniform", *_SCHEDULERS):
        missing.append(f"the schedule {schedule}")
    notes = [f"what replaces {what}, which ComfyUI does not have under this name" for what in missing]
    return known_name or "euler", known_schedule, notes


def _node(class_type: str, **inputs: object) -> dict[str, object]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": class_type}}
