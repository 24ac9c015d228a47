"""The web UI: from `txt2img` and `img2img` to a GenerationRequest, and from a job to images with their texts.

A field of the web UI is done, refused, or named in a warning: samplers and schedulers belong to the models,
and extensions and scripts do not exist. Fields that the web UI itself ignores unless another one is set
(`hr_...` without `enable_hr`) and values that ask for nothing are passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from orchestrator.catalog import Catalog, Model, ModelKind
from orchestrator.errors import InvalidRequest, invalid_field
from orchestrator.intake.field_names import errors_name_fields
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import JobRecord
from orchestrator.web.dialects.a1111.infotext import write_infotext
from orchestrator.web.dialects.a1111.schemas import GenerationBody, ImageToImageBody
from orchestrator.web.dialects.hosted_names import find_hosted_name, suggest_names
from orchestrator.web.dialects.openai.image_routes import MAX_OPENAI_IMAGES
from orchestrator.web.dialects.run_input import to_run_request

DIALECT_NAME = "a1111"
#: Models of requests whose key has chosen none: from a text, from an image, and with a mask.
DEFAULT_MODEL, DEFAULT_IMAGE_MODEL, DEFAULT_MASK_MODEL = "sdxl-1.0", "flux-1-dev", "flux-1-fill-dev"
#: Values of the web UI's fields that ask for nothing; other values are refused.
_REFUSED: Mapping[str, tuple[object, ...]] = MappingProxyType(
    {
        "enable_hr": (False,),
        "tiling": (False,),
        "styles": ([],),
        "subseed_strength": (0,),
        "seed_resize_from_h": (0, -1),
        "seed_resize_from_w": (0, -1),
        "script_name": ("",),
        "refiner_checkpoint": ("", "None"),
    }
)
#: Values that ask for nothing; other values give a warning.
_WITHOUT_EFFECT: Mapping[str, tuple[object, ...]] = MappingProxyType(
    {
        "restore_faces": (False,),
        "sampler_name": ("", "Automatic", "Default"),
        "sampler_index": ("", "Automatic", "Default"),
        "scheduler": ("", "automatic", "Automatic", "Default"),
        "eta": (0, 1),
        "s_churn": (0,),
        "s_tmin": (0,),
        "s_tmax": (0,),
        "s_noise": (0, 1),
        "s_min_uncond": (0,),
        "image_cfg_scale": (1.5,),
        "initial_noise_multiplier": (1,),
        "clip_skip": (0, 1),
    }
)
#: Fields that change nothing here whatever they say: files are not written, and nothing is restored.
_PASSED_OVER = frozenset(
    {"save_images", "do_not_save_samples", "do_not_save_grid", "override_settings_restore_afterwards"}
    | {"subseed", "script_args", "refiner_switch_at", "disable_extra_networks", "force_task_id", "infotext"}
    | {
        "firstphase_width",
        "firstphase_height",
        "comments",
        "mask_round",
        "latent_mask",
        "inpaint_full_res_type",
    }
    # What SillyTavern sends to its own server, and on.
    | {"url", "auth"}
)
#: Options that have these values here.
_OPTIONS: Mapping[str, tuple[object, ...]] = MappingProxyType(
    {
        "sd_vae": ("", "None", "Automatic"),
        "CLIP_stop_at_last_layers": (0, 1),
        "samples_format": ("png",),
    }
)
_LORA = re.compile(r"<lora:([^:<>]+)(?::(-?\d+(?:\.\d+)?))?>", re.ASCII)


def chosen_model(body: GenerationBody, catalog: Catalog, of_key: str | None) -> str | None:
    """Return the name of the model that a request or its key has chosen. Raises InvalidRequest."""
    settings = body.override_settings or {}
    asked = settings.get("sd_model_checkpoint")
    if asked is None or asked == "":
        return of_key if of_key is not None and of_key in catalog else None
    if not isinstance(asked, str):
        raise invalid_field("sd_model_checkpoint", f"must be the name of a model (got {str(asked)[:40]})")
    return require_checkpoint(catalog, asked)


def require_checkpoint(catalog: Catalog, title: str) -> str:
    """Return the catalog's name of a checkpoint, with or without its `[hash]`. Raises InvalidRequest."""
    asked = re.sub(r"\s*\[[0-9a-f]+\]$", "", title.strip())
    name = find_hosted_name(catalog, asked, {})
    if name is None:
        guess = suggest_names(asked, (one for one, model in catalog.offers() if makes_pictures(model)))
        raise invalid_field(
            "sd_model_checkpoint", f"must be one of `GET /sdapi/v1/sd-models` (got {title[:80]!r}){guess}"
        )
    if not makes_pictures(catalog[name]):
        raise invalid_field("sd_model_checkpoint", f"must make images; {name[:80]} does not")
    return name


def makes_pictures(model: Model) -> bool:
    """Return whether a model makes images from texts."""
    return model.kind is ModelKind.IMAGE and model.makes_images


#: Fields that programs send for every model, whether it has them or not.
_SENT_BY_ALL = frozenset({"negative_prompt", "steps", "cfg_scale", "width", "height"})


def to_request(
    body: GenerationBody,
    catalog: Catalog,
    name: str,
    images: Mapping[str, Any],
    *,
    idempotency_key: str | None,
) -> GenerationRequest:
    """Translate a request to the model `name`; `images` are its prepared files. Raises InvalidRequest."""
    known = {parameter for model in catalog.models_of(name) for parameter in model.parameters}
    fields, warnings = _take_own_fields(body, known)
    fields |= _main_fields(body, catalog, name, has_image=bool(images))
    for field in sorted(_SENT_BY_ALL & fields.keys() - known):
        del fields[field]
        warnings.append(f"`{field}` has no effect: the model has no such parameter")
    with errors_name_fields({"image": "init_images", "images": "init_images"}):
        request = to_run_request(
            name,
            {**fields, **images},
            catalog,
            own_names={},
            idempotency_key=idempotency_key,
        )
    if isinstance(body, ImageToImageBody) and body.mask is not None and "strength" not in known:
        warnings += ["`denoising_strength` has no effect: the model redraws the mask entirely"]
    names = {
        "n": "batch_size",
        "strength": "denoising_strength",
        "image": "init_images",
        "images": "init_images",
        **({"loras": "prompt"} if _LORA.search(body.prompt) else {}),
    }
    return replace(
        request.with_field_names(names),
        max_images=MAX_OPENAI_IMAGES,
        warnings=(*request.warnings, *warnings),
        may_be_blank=frozenset({"prompt"}),
        origin=f"{DIALECT_NAME}/{name}",
    )


def _main_fields(body: GenerationBody, catalog: Catalog, name: str, *, has_image: bool) -> dict[str, Any]:
    """Return the fields that every request has, under our names."""
    model = catalog[name]
    prompt, loras = take_loras(body.prompt)
    fields: dict[str, Any] = {"n": image_count(body)}
    if prompt or model.parameters.get("prompt") is None or model.parameters["prompt"].required:
        fields["prompt"] = prompt
    if loras:
        fields["loras"] = loras
    for field in ("negative_prompt", "steps", "cfg_scale"):
        value = getattr(body, field)
        if value is not None and value != "":
            fields[field] = value
    if body.seed is not None and body.seed >= 0:
        fields["seed"] = body.seed
    if not has_image:
        fields |= {side: getattr(body, side) for side in ("width", "height") if getattr(body, side)}
        return fields
    is_used = any("strength" in each.parameters for each in catalog.models_of(name))
    if body.denoising_strength is not None and is_used:
        fields["strength"] = body.denoising_strength
    return fields


def image_count(body: GenerationBody) -> int:
    """Return the number of images. Raises InvalidRequest."""
    batch, rounds = (1 if each is None else each for each in (body.batch_size, body.n_iter))
    if not 1 <= batch * rounds <= MAX_OPENAI_IMAGES or batch < 1:
        raise invalid_field(
            "batch_size",
            f"times `n_iter` must be from 1 to {MAX_OPENAI_IMAGES} (got {batch} times {rounds})"[:200],
        )
    return batch * rounds


def take_loras(prompt: str) -> tuple[str, list[dict[str, Any]]]:
    """Return a prompt without its `<lora:NAME:STRENGTH>`, and these."""
    loras = [{"name": name, "strength": float(strength or 1)} for name, strength in _LORA.findall(prompt)]
    return (" ".join(_LORA.sub(" ", prompt).split()) if loras else prompt), loras


def _take_own_fields(body: GenerationBody, known: set[str]) -> tuple[dict[str, Any], list[str]]:
    """Return further parameters of the model, and what has no effect. Raises InvalidRequest."""
    fields: dict[str, Any] = {}
    warnings: list[str] = []
    declared = type(body).model_fields
    for name, value in body:
        if value is None or (name in declared and name not in _WITHOUT_EFFECT):
            continue
        if name in known:
            fields[name] = value
        elif name in _PASSED_OVER or (name.startswith("hr_") and name not in known):
            continue
        elif name in _REFUSED:
            if value not in _REFUSED[name]:
                raise _refuse(name, value)
        elif name in _WITHOUT_EFFECT:
            if value not in _WITHOUT_EFFECT[name]:
                warnings.append(f"`{name}` has no effect")
        else:
            fields[name] = value
    _check_scripts(body.alwayson_scripts or {})
    return fields, warnings + option_warnings(body.override_settings or {})


def _refuse(name: str, value: object) -> InvalidRequest:
    hint = "ask for a larger size instead" if name == "enable_hr" else "leave it out"
    return InvalidRequest(
        f"`{name}` is not supported (got {str(value)[:40]}); {hint}", code=f"unsupported_{name}", param=name
    )


def _check_scripts(scripts: Mapping[str, Any]) -> None:
    """Raise InvalidRequest for a script that is to do something."""
    for name, script in scripts.items():
        args = script.get("args") if isinstance(script, dict) else script
        if args not in (None, [], {}, [False]):
            raise InvalidRequest(
                f"`alwayson_scripts` has {name[:60]!r}, which is not installed; leave it out",
                code="unsupported_alwayson_scripts",
                param="alwayson_scripts",
            )


def option_warnings(settings: Mapping[str, Any]) -> list[str]:
    """Return sentences about options that have no effect, except those with the value that they have here."""
    return [
        f"`{name[:60]}` has no effect"
        for name, value in settings.items()
        if name not in ("sd_model_checkpoint", "sd_checkpoint_hash")
        and value is not None
        and value not in _OPTIONS.get(name, ())
    ]


def to_parameters(body: GenerationBody) -> dict[str, Any]:
    """Return the request as the response repeats it, without files and without what is secret."""
    sent = {name: value for name, value in body if name not in ("url", "auth", "mask")}
    if isinstance(body, ImageToImageBody) and not body.include_init_images:
        sent["init_images"] = None
    return sent


def to_info(record: JobRecord, model: Model, sizes: Sequence[tuple[int, int]], texts: Sequence[str]) -> str:
    """Return the JSON text that describes the images of a job."""
    job, params = record.job, record.job.params
    seeds = [shard.params.get("seed", -1) for shard in record.shards for _ in shard.outputs]
    count = len(sizes)
    width, height = sizes[0] if sizes else (0, 0)
    prompt, negative = params.get("prompt") or "", params.get("negative_prompt") or ""
    return json.dumps(
        {
            "prompt": prompt,
            "all_prompts": [prompt] * count,
            "negative_prompt": negative,
            "all_negative_prompts": [negative] * count,
            "seed": seeds[0] if seeds else -1,
            "all_seeds": seeds,
            "subseed": -1,
            "all_subseeds": [-1] * count,
            "subseed_strength": 0,
            "width": width,
            "height": height,
            "sampler_name": "Default",
            "cfg_scale": params.get("cfg_scale"),
            "steps": params.get("steps", model.default_steps),
            "batch_size": count,
            "restore_faces": False,
            "face_restoration_model": None,
            "sd_model_name": job.shown_model,
            "sd_model_hash": model.digest[:10],
            "sd_vae_name": None,
            "denoising_strength": params.get("strength"),
            "extra_generation_params": {},
            "index_of_first_image": 0,
            "infotexts": list(texts),
            "styles": [],
            "job_timestamp": job.created_at.strftime("%Y%m%d%H%M%S"),
            "clip_skip": 1,
            "is_using_inpainting_conditioning": False,
            "warnings": list(job.warnings),
        }
    )


def to_infotexts(record: JobRecord, sizes: Sequence[tuple[int, int]]) -> list[str]:
    """Return the text of parameters for each image."""
    seeds = [shard.params.get("seed") for shard in record.shards for _ in shard.outputs]
    return [
        write_infotext(record.job.params, seed=seed, model=record.job.shown_model, size=size)
        for seed, size in zip(seeds, sizes, strict=True)
    ]
