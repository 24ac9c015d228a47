"""Checks that no parameter is ignored or changed without a word: `python -m scripts.fuzz.parameters`.

For each address of the API, each model and each field, two requests are made that differ in that field only.
They are translated, validated, priced and rendered as the service does, without pixels. What they may do:

* be refused, with an error of status 400;
* differ in what is sent to ComfyUI, or in how the result is delivered;
* say in a warning that the field has no effect.

Where a request asks for a size, a number of frames or a number of results, what is made must be exactly that.
Prints a table of counts, and everything that violates the rule; the exit code is 1 if anything does.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from PIL import Image

from orchestrator.app.openapi_app import build_offline_service
from orchestrator.catalog import Catalog, Model
from orchestrator.errors import InvalidRequest, ServiceError
from orchestrator.intake.input_slots import InputOwner, InputPurpose
from orchestrator.intake.request_preparer import GenerationRequest, PreparedRequest, RequestPreparer
from orchestrator.settings import Settings
from orchestrator.web.dialects.openai import images as openai_images
from orchestrator.web.dialects.openai import videos as openai_videos
from orchestrator.web.dialects.openai.image_bodies import (
    ImageEditBody,
    ImageGenerationBody,
    ImageRequestBody,
    ImageVariationBody,
)
from orchestrator.web.dialects.parameter_names import SYNONYMS, WITHOUT_EFFECT
from orchestrator.web.dialects.pixazo import translation as pixazo
from orchestrator.web.dialects.pixazo.endpoints import PIXAZO_ENDPOINTS, PixazoEndpoint
from orchestrator.web.dialects.pixel_factory import translation as pixel_factory
from orchestrator.web.dialects.pixelapi import translation as pixelapi
from orchestrator.web.dialects.pixeldojo import translation as pixeldojo
from orchestrator.web.dialects.replicate import translation as replicate
from orchestrator.web.dialects.request_body import RequestBody, parse_body
from orchestrator.web.dialects.run_input import RunInput, to_run_request

Fields = Mapping[str, Any]
OWNER = InputOwner("fuzz", InputPurpose.QUOTE)


def _picture(width: int, height: int, colour: str) -> str:
    buffer = io.BytesIO()
    Image.new("RGBA", (width, height), colour).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


#: Two pictures of one size, and two masks for them.
PICTURES = (_picture(512, 512, "red"), _picture(512, 512, "blue"))
MASKS = (_picture(512, 512, "#00000000"), _picture(512, 512, "white"))

#: Values by parameter, all different in what they ask for. A text of a number counts as the number in a form.
VALUES: Mapping[str, Sequence[Any]] = {
    "prompt": ("a fox", "an owl in the rain"),
    "negative_prompt": ("blur", "rain"),
    "width": (512, 640, 768, 1000, 1448),
    "height": (512, 640, 768, 1000, 1448),
    "size": ("512x512", "640x360", "768x1344", "1000x1000", "1448x1448", "1920x1080", "1X1", "wide"),
    "aspect_ratio": ("1:1", "16:9", "2:3", "21:9", "4:5", "7:1"),
    "resolution": ("480p", "720p", "1K", "0.25 MP", "640x480", "huge"),
    "steps": (1, 2, 7, 20, 33, 100_000),
    "cfg_scale": (1.0, 2.5, 7.0, 11.0, 99.0),
    "strength": (0.02, 0.3, 0.8, 3.0),
    "seed": (1, 2, 2**63, -1),
    "n": (1, 2, 4, 7, 10, 0),
    "num_frames": (17, 20, 33, 82, 9999),
    "fps": (8, 16, 24, 25, 999),
    "seconds": (1, "2", 3.5, 3.3, 900),
    "duration": (1, 2, 3.5, 3.3, 900),
    "image": PICTURES,
    "input_reference": PICTURES,
    "images": ([PICTURES[0]], [PICTURES[1]], list(PICTURES)),
    "mask": MASKS,
    "loras": ([{"name": "ink", "strength": 0.5}], [{"name": "ink", "strength": 0.9}], [{"name": "clay"}]),
    "lora_weights": ("ink", "clay", ["ink", "clay"]),
    "lora_scale": (0.5, 0.9),
    "quality": ("low", "medium", "high", "max"),
    "background": ("opaque", "transparent"),
    "response_format": ("url", "b64_json"),
    "output_format": ("png", "jpeg", "webp"),
    "output_compression": (20, 80),
    "stream": (False, True),
    "partial_images": (1, 3),
    "user": ("ann", "bob"),
    "style": ("vivid", "natural"),
    "moderation": ("low", "auto", "strict"),
    "input_fidelity": ("low", "high", "medium"),
    "go_fast": (True, False, "fast"),
    "enable_safety_checker": (True, False, 3),
    "disable_safety_checker": (True, False, 3),
    "safety_tolerance": (2, "3", "high"),
    "output_quality": (70, 90, "good"),
    "safety_identifier": ("ann", "bob", 3),
    "prompt_cache_key": ("a", "b", 3),
    "webhook_url": ("https://a.example.com/hook", "https://b.example.com/hook"),
}
#: Values for fields of other names; the first ones of each type are tried against each other.
OTHER_VALUES: Sequence[Any] = (1, 3, "a", "b", 0.5, True, False, ["a"], {"a": 1})
#: Names of no parameter.
UNKNOWN_FIELDS = ("hocus", "stpes", "promt", "Width ", "n[]", "guidence_scale")


@dataclass(frozen=True, slots=True)
class Address:
    """An address of the API, for one model."""

    name: str
    model: str
    body: type[Any]
    translate: Callable[[Fields], tuple[Any, GenerationRequest]]
    #: Our name of a field of the document that is called differently.
    meanings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request."""

    error: ServiceError | None = None
    prepared: PreparedRequest | None = None
    #: What is made, and how it is delivered.
    effect: str = ""
    warnings: tuple[str, ...] = ()


@dataclass
class Report:
    """Counts by address, and violations."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    #: Models by what is wrong.
    violations: dict[str, list[str]] = field(default_factory=dict)

    def add(self, address: Address, outcome: str) -> None:
        self.counts.setdefault(address.name, Counter())[outcome] += 1

    def violate(self, address: Address, reason: str) -> None:
        self.add(address, "violations")
        self.violations.setdefault(f"{address.name}: {reason}", []).append(address.model)

    def total(self, outcome: str) -> int:
        """Return how often there was this outcome, at all addresses."""
        return sum(counts[outcome] for counts in self.counts.values())

    def print(self) -> None:
        columns = ("requests", "refused", "differ", "warned", "exact", "violations")
        print(f"{'address':34}" + "".join(f"{column:>12}" for column in columns))
        for name, counts in sorted(self.counts.items()):
            print(f"{name:34}" + "".join(f"{counts[column]:12}" for column in columns))
        print(f"{'all':34}" + "".join(f"{self.total(column):12}" for column in columns))
        for violation, models in sorted(self.violations.items(), key=lambda item: -len(item[1])):
            print(f"{len(models):4} x {violation} ({', '.join(models[:3])})")


class ParameterCampaign:
    """Sends pairs of requests to the translation, validation and rendering of the service."""

    def __init__(self, preparer: RequestPreparer, seed: int) -> None:
        self._preparer = preparer
        self._rng = random.Random(seed)
        self.report = Report()

    async def run(self, addresses: Iterable[Address], share: float = 1.0) -> Report:
        """Try all fields of all addresses, or a random share of them."""
        for address in addresses:
            base = await self._find_base(address)
            if base is None:
                self.report.add(address, "not for this model")
                continue
            for name in field_names(address):
                if self._rng.random() < share:
                    await self._try_field(address, base, name)
        return self.report

    async def _find_base(self, address: Address) -> Fields | None:
        """Return the smallest body that the model accepts, or None if this address does not serve it."""
        for extra in bases(address):
            if (await self._send(address, extra)).error is None:
                return extra
        return None

    async def _send(self, address: Address, fields: Fields) -> Answer:
        self.report.add(address, "requests")
        try:
            body, request = address.translate(fields)
            with translated_errors(body):
                prepared = await self._preparer.prepare(request, OWNER)
        except ServiceError as error:
            if not isinstance(error, InvalidRequest):
                self.report.violate(address, f"{_shown(fields)}: {error.status} {error.code}")
            return Answer(error=error)
        return Answer(
            prepared=prepared,
            effect=_describe_effect(body, prepared),
            warnings=tuple(prepared.request.warnings) + tuple(getattr(prepared, "warnings", ())),
        )

    async def _try_field(self, address: Address, base: Fields, name: str) -> None:
        meaning = address.meanings.get(name) or SYNONYMS.get(name, name)
        values = VALUES.get(meaning, OTHER_VALUES)
        answers = [(value, await self._send(address, {**base, name: value})) for value in values]
        accepted = []
        for value, answer in answers:
            if answer.error is not None:
                self.report.add(address, "refused")
                self._check_refusal(address, name, answer.error)
            else:
                accepted.append((value, answer))
                self._check_exactness(address, meaning, name, value, answer)
        for (first, one), (second, other) in combinations(accepted, 2):
            if one.effect != other.effect:
                self.report.add(address, "differ")
            elif any(_is_explained(name, *pair) for pair in ((first, one), (second, other))):
                self.report.add(address, "warned")
            elif not _is_neutral(meaning, first, second):
                self.report.violate(
                    address, f"`{name}`: {_shown(first)} and {_shown(second)} make no difference"
                )

    def _check_refusal(self, address: Address, name: str, error: ServiceError) -> None:
        if error.status != 400 or not error.message or error.code == "internal_error":
            self.report.violate(address, f"`{name}`: {error.status} {error.code}")

    def _check_exactness(self, address: Address, meaning: str, name: str, value: Any, answer: Answer) -> None:
        """Check that the result has the size, shape, length and number that was asked for."""
        assert answer.prepared is not None
        params = answer.prepared.params
        wanted: dict[str, Any] = {}
        if meaning in ("width", "height", "num_frames", "fps", "n", "seed", "steps"):
            wanted[meaning] = value
        if meaning in ("size", "resolution") and isinstance(value, str) and "x" in value:
            wanted["width"], wanted["height"] = map(int, value.split("x"))
        if any(f"`{name}`" in text for text in answer.warnings):
            return
        if meaning in ("seconds", "duration"):
            wanted["num_frames"] = round(float(value) * params["fps"], 6)
        if meaning == "aspect_ratio" and _makes_any_shape(answer.prepared.model):
            width, _, height = value.partition(":")
            wanted["height"] = params["width"] * int(height) / int(width)
        for parameter, asked in wanted.items():
            if params.get(parameter) != asked:
                self.report.violate(
                    address, f"`{name}` {value!r} became {parameter}={params.get(parameter)!r}"
                )
                return
        if wanted:
            self.report.add(address, "exact")


@contextmanager
def translated_errors(body: Any) -> Iterator[None]:
    """Raise errors as the routes do, with the field names of the body's dialect."""
    try:
        yield
    except InvalidRequest as error:
        translate = getattr(body, "translate_error", None)
        raise (translate(error) if translate else error) from error


def field_names(address: Address) -> Iterator[str]:
    """Yield every name that a request to the address may be tried with."""
    names: dict[str, None] = {}
    for name, info in address.body.model_fields.items():
        names[info.alias or name] = None
    names |= dict.fromkeys(VALUES) | dict.fromkeys(SYNONYMS) | dict.fromkeys(WITHOUT_EFFECT)
    names |= dict.fromkeys(
        ("numInferenceSteps", "guidanceScale", "negativePrompt", "aspectRatio", "imageSize")
    )
    names |= dict.fromkeys(UNKNOWN_FIELDS)
    names.pop("model", None)
    yield from names


def bases(address: Address) -> Iterator[Fields]:
    """Yield bodies from the smallest to one with all files."""
    image = next(
        (name for name in ("input_reference", "image") if name in address.body.model_fields), "image"
    )
    own = {info.alias: name for name, info in address.body.model_fields.items() if info.alias}
    pictures = [alias for alias, name in own.items() if name.startswith("input_image")]
    prompt = {"prompt": "a fox"}
    if pictures:
        data_url = f"data:image/png;base64,{PICTURES[0]}"
        for alias in pictures:
            yield prompt | {alias: data_url}
            yield prompt | {alias: [data_url]}
            yield {alias: data_url}
            yield prompt | {alias: data_url, "mask": f"data:image/png;base64,{MASKS[0]}"}
    yield prompt
    yield prompt | {image: PICTURES[0]}
    yield {image: PICTURES[0]}
    yield prompt | {image: PICTURES[0], "mask": MASKS[0]}
    yield {}


def _describe_effect(body: Any, prepared: PreparedRequest) -> str:
    """Return all that decides on the result and its delivery, as text."""
    request, model = prepared.request, prepared.model
    params = dict(prepared.params)
    drawn = params.get("seed") is None
    graph = model.render_graph({**params, "seed": params.get("seed") or 0}, filename_prefix="x")
    delivery: list[Any] = [request.webhook_url, repr(request.encoding), request.webhook_statuses and "some"]
    if isinstance(body, ImageRequestBody):
        delivery += [
            body.wants_urls,
            repr(body.encoding),
            body.stream,
            body.partial_images if body.stream else None,
        ]
    for name in ("sync_mode", "waits_for_result"):
        delivery.append(getattr(body, name, None))
    return json.dumps([model.id, params["n"], drawn, graph, delivery], sort_keys=True, default=str)


def _makes_any_shape(model: Model) -> bool:
    """Whether the results of the model are cut to the size that a request asks for."""
    return model.output_sizes is not None and model.output_sizes.width.off_grid == "cut"


def _is_explained(name: str, value: Any, answer: Answer) -> bool:
    """Whether a warning says that the field has no effect, or its value asks for none."""
    neutral = WITHOUT_EFFECT[name].neutral if name in WITHOUT_EFFECT else frozenset()
    return (isinstance(value, str | bool) and value in neutral) or any(
        f"`{name}`" in text for text in answer.warnings
    )


def _is_neutral(meaning: str, first: Any, second: Any) -> bool:
    """Whether two values may ask for the same: both say "as usual", or share the model's smallest effort."""
    usual = ("auto", None, "", False, "medium", "standard", "opaque")
    return meaning == "quality" or (first in usual and second in usual)


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str) if not isinstance(value, str) else value
    return text if len(text) < 60 else f"{text[:40]}..."


def build_addresses(models: Catalog) -> Iterator[Address]:
    """Yield every address for every model of the catalogue."""

    def openai(
        name: str, model: str, body_type: type[RequestBody], to_request: Callable[..., GenerationRequest]
    ) -> Address:
        def translate(fields: Fields) -> tuple[Any, GenerationRequest]:
            given = {"model": model, **fields}
            body = parse_body(body_type, given, parameters=models.parameters_of(model))
            return body, to_request(body, models, form=False, idempotency_key=None)

        return Address(name, model, body_type, translate)

    def dojo(model: str) -> Address:
        def translate(fields: Fields) -> tuple[Any, GenerationRequest]:
            body = parse_body(pixeldojo.RunBody, fields, parameters=models.parameters_of(model))
            return body, pixeldojo.to_request(model, body, models, idempotency_key=None)

        return Address("PixelDojo run", model, pixeldojo.RunBody, translate)

    def pixel_api(model: str) -> Address:
        def translate(fields: Fields) -> tuple[Any, GenerationRequest]:
            given = {"model": model, **fields}
            body = parse_body(pixelapi.PixelApiGenerateBody, given, parameters=models.parameters_of(model))
            return body, pixelapi.to_request(body, models, idempotency_key=None)

        return Address("PixelAPI generate", model, pixelapi.PixelApiGenerateBody, translate)

    def run(model: str) -> Address:
        def translate(fields: Fields) -> tuple[Any, GenerationRequest]:
            request = to_run_request(
                model, fields, models, own_names=replicate.FIELD_NAMES, idempotency_key=None
            )
            return None, request

        return Address("Replicate input", model, RunInput, translate)

    def gateway(endpoint: PixazoEndpoint) -> Address:
        model = models[endpoint.catalog_id]

        def translate(fields: Fields) -> tuple[Any, GenerationRequest]:
            body = endpoint.body.parse(fields, model.parameters)
            with translated_errors(body):
                return body, pixazo.to_request(
                    endpoint, body, model, header_webhook_url=None, idempotency_key=None
                )

        own = {field.alias or name: name for name, field in endpoint.body.model_fields.items()}
        return Address(f"Pixazo {endpoint.path[-26:]}", model.id, endpoint.body, translate, own)

    yield from (gateway(endpoint) for endpoint in PIXAZO_ENDPOINTS if endpoint.catalog_id in models)
    for model in models:
        if model.kind.value == "trainer":
            continue
        yield openai("images/generations", model.id, ImageGenerationBody, pixel_factory.to_request)
        yield openai("images/edits", model.id, ImageEditBody, openai_images.to_edit_request)
        yield openai("images/variations", model.id, ImageVariationBody, openai_images.to_variation_request)
        yield openai("videos", model.id, openai_videos.VideoCreateBody, openai_videos.to_request)
        yield dojo(model.id)
        yield run(model.id)
        yield pixel_api(model.id)


async def run_campaign(seed: int, share: float) -> Report:
    """Run the campaign on the models and prices that ship."""
    async with build_offline_service(Settings()) as (_, service):
        campaign = ParameterCampaign(service.request_preparer, seed)
        return await campaign.run(build_addresses(service.catalog), share)


def main() -> int:
    """Run the campaign, print its report and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--share", type=float, default=1.0, help="share of the fields to try, 0 to 1")
    options = parser.parse_args()
    report = asyncio.run(run_campaign(options.seed, options.share))
    report.print()
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
