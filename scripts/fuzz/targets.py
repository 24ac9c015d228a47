"""Fuzz targets: each reads arbitrary bytes, and raises nothing but the errors that its parser documents.

`corpus/TARGET/` holds a few small inputs for each. Inputs that once made a target fail stay there, named
after what was wrong, as regression tests.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from comfy_instances.protocol.history import parse_history, parse_queue
from comfy_instances.protocol.message_parser import parse_frame
from comfy_instances.protocol.node_facts import load_core_node_facts
from comfy_instances.protocol.system_stats import parse_system_stats
from orchestrator.catalog import Catalog, CatalogError
from orchestrator.catalog.import_export import InvalidWorkflow, import_workflow, read_workflow
from orchestrator.catalog.rendering.graph import parse_graph
from orchestrator.catalog.rendering.render import CompiledGraph
from orchestrator.errors import InvalidRequest, ServiceError
from orchestrator.intake.own_graphs import estimate_seconds
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.media.errors import CorruptMedia
from orchestrator.media.formats import probe_media
from orchestrator.media.images import IMAGE_TYPES, convert_image
from orchestrator.media.inputs.archives import ArchiveLimits, open_archive
from orchestrator.media.inputs.input_images import ImageLimits, decode_image
from orchestrator.media.inputs.payloads import InputRejected, PayloadDecoder
from orchestrator.media.marks.provenance import strip_graph_metadata
from orchestrator.media.sniffing import detect_content_type
from orchestrator.media.tensors import check_finite, parse_safetensors_header
from orchestrator.media.thumbnails import make_thumbnail
from orchestrator.own_graphs.model import own_graph_model
from orchestrator.own_graphs.policy import GraphPolicy
from orchestrator.own_graphs.rejections import GraphRejected
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR
from orchestrator.web.dialects.a1111 import translation as a1111
from orchestrator.web.dialects.a1111.schemas import TextToImageBody
from orchestrator.web.dialects.fal import translation as fal
from orchestrator.web.dialects.huggingface import translation as huggingface
from orchestrator.web.dialects.huggingface.translation import TextToImageRequest
from orchestrator.web.dialects.openai import images as openai_images
from orchestrator.web.dialects.openai import videos as openai_videos
from orchestrator.web.dialects.openai.image_bodies import (
    ImageEditBody,
    ImageGenerationBody,
    ImageVariationBody,
)
from orchestrator.web.dialects.pixazo import translation as pixazo
from orchestrator.web.dialects.pixazo.endpoints import PIXAZO_ENDPOINTS, PixazoEndpoint
from orchestrator.web.dialects.pixel_factory import translation as pixel_factory
from orchestrator.web.dialects.pixelapi import translation as pixelapi
from orchestrator.web.dialects.pixeldojo import translation as pixeldojo
from orchestrator.web.dialects.replicate import translation as replicate
from orchestrator.web.dialects.replicate.schemas import ModelPredictionBody
from orchestrator.web.dialects.request_body import parse_body
from orchestrator.web.dialects.run_input import to_run_request
from orchestrator.web.http.content_encoding import DamagedBody, InflatedTooLarge, inflate
from orchestrator.web.http.json_bodies import MAX_EXACT_FLOAT, MAX_SMALL_BYTES, parse_json_object
from orchestrator.web.http.multipart import parse_multipart
from orchestrator.web.http.request_model import first_validation_error

Translate = Callable[[Mapping[str, Any], bool], GenerationRequest]

CORPUS = Path(__file__).with_name("corpus")
#: Small limits, so that an input of a few kilobytes can exceed them.
IMAGE_LIMITS = ImageLimits(max_bytes=2**20, max_pixels=2**18, max_side=4096)
ARCHIVE_LIMITS = ArchiveLimits(max_unpacked_bytes=2**20, max_entries=16)
SUFFIXES = frozenset({".png", ".jpg", ".webp", ".txt"})
#: Variables that expressions of the rendered graphs may use, with their values.
RENDER_CONTEXT: Mapping[str, Any] = {
    "prompt": "a cat",
    "seed": 7,
    "steps": 4,
    "cfg_scale": 1.5,
    "width": 64,
    "height": 64,
    "image": "cat.png",
    "images": ["cat.png", "dog.png"],
    "loras": [{"name": "ink", "strength": 0.5}],
    "n": 1,
    "filename_prefix": "example",
    "weights": {"model": "model.safetensors"},
    "weight_dtypes": {"model": "default"},
}
EXAMPLE_FILE = Path("graph.json")
MAX_INFLATED_BYTES = 2**16
#: Makes a body large.
_LONG_TEXT = b"x" * MAX_SMALL_BYTES


def fuzz_messages(data: bytes) -> None:
    """Frames of an instance's websocket."""
    parse_frame(data)
    parse_frame(data.decode("utf-8", "surrogateescape"))


def fuzz_responses(data: bytes) -> None:
    """Bodies of an instance's `/history`, `/queue` and `/system_stats`."""
    with suppress(ValueError, RecursionError):
        body = json.loads(data)
        for parse in (parse_queue, lambda body: parse_history(body, "p"), parse_system_stats):
            with suppress(ValueError):
                parse(body)


def fuzz_importer(data: bytes) -> None:
    """Workflow files of authors."""
    with suppress(InvalidWorkflow):
        import_workflow(
            read_workflow(data),
            id="fuzzed",
            facts=load_core_node_facts(),
            today=date(2026, 1, 31),
            comfyui_version="0.33.0",
        )


def fuzz_renderer(data: bytes) -> None:
    """Graphs with expressions."""
    with suppress(CatalogError):
        nodes = parse_graph(data.decode("utf-8", "replace"), EXAMPLE_FILE)
        CompiledGraph(nodes, frozenset(RENDER_CONTEXT), EXAMPLE_FILE).render(RENDER_CONTEXT)


def fuzz_images(data: bytes) -> None:
    """Input images, and images that instances make."""
    with suppress(CorruptMedia, InputRejected):
        image = decode_image(data, IMAGE_LIMITS)
        assert image.width * image.height <= IMAGE_LIMITS.max_pixels
        assert decode_image(image.data, IMAGE_LIMITS).sha256 == image.sha256
    if detect_content_type(data) in IMAGE_TYPES:
        with suppress(CorruptMedia):
            convert_image(data, "image/jpeg")


def fuzz_media(data: bytes) -> None:
    """Files of every kind that instances make."""
    with suppress(CorruptMedia):
        info = probe_media(data)
        strip_graph_metadata(data, info.content_type)
        if info.content_type.startswith("video/"):
            make_thumbnail(data)


def fuzz_archives(data: bytes) -> None:
    """Zip archives of datasets."""
    with suppress(CorruptMedia), open_archive(data, ARCHIVE_LIMITS, SUFFIXES) as archive:
        assert len(archive.names) <= ARCHIVE_LIMITS.max_entries
        for name in archive.names:
            assert len(archive.read(name)) == archive.size(name)


def fuzz_tensors(data: bytes) -> None:
    """Safetensors files."""
    with suppress(CorruptMedia):
        check_finite(data, parse_safetensors_header(io.BytesIO(data), len(data)))


def fuzz_payloads(data: bytes) -> None:
    """Base64 texts and data URLs."""
    with suppress(InputRejected):
        decoded = PayloadDecoder("image", 2**16).decode(data.decode("utf-8", "surrogateescape"))
        assert 0 < len(decoded) <= 2**16


def fuzz_forms(data: bytes) -> None:
    """Multipart forms."""
    with suppress(ValueError, LookupError):
        for field in parse_multipart(data, "multipart/form-data; boundary=b"):
            assert isinstance(field.name, str)


def fuzz_compressed_bodies(data: bytes) -> None:
    """Compressed request bodies."""
    for encoding in ("gzip", "deflate"):
        with suppress(DamagedBody, InflatedTooLarge):
            assert len(inflate(data, encoding, MAX_INFLATED_BYTES)) <= MAX_INFLATED_BYTES


def _whole_or_float(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() and abs(number) <= MAX_EXACT_FLOAT else number


def fuzz_large_json(data: bytes) -> None:
    """JSON bodies that are so large that they are parsed in pieces: as Python parses them in one."""
    raw = b'{"image": "%b", "rest": %b}' % (_LONG_TEXT, data)
    try:
        parsed = parse_json_object(raw)
    except InvalidRequest:
        return
    expected = json.loads(raw, parse_float=_whole_or_float)
    if b"cut" not in data:  # stand-ins for long texts, which nobody else writes
        assert repr(parsed) == repr(expected)


def fuzz_bodies(data: bytes) -> None:
    """JSON bodies and form fields of every dialect, up to the parameters of the model.

    The first byte chooses the dialect, and whether numbers are text as in a form.
    """
    if not data:
        return
    translate = DIALECTS[data[0] % len(DIALECTS)]
    with suppress(ServiceError):
        request = translate(parse_json_object(data[1:]), bool(data[0] & 0x80))
        shipped_catalog()[request.model].validate_params(request.params)


@cache
def shipped_catalog() -> Catalog:
    """The models that ship."""
    return Catalog.load(SHIPPED_WORKFLOWS_DIR)


def _pixazo(endpoint: PixazoEndpoint) -> Translate:
    def translate(fields: Mapping[str, Any], form: bool) -> GenerationRequest:
        model = shipped_catalog()[endpoint.catalog_id]
        body = endpoint.body.parse(fields, model.parameters)
        return pixazo.to_request(endpoint, body, model, header_webhook_url=None, idempotency_key=None)

    return translate


def _predict(fields: Mapping[str, Any]) -> GenerationRequest:
    try:
        body = ModelPredictionBody.model_validate(fields)
    except ValidationError as error:
        raise first_validation_error(error) from error
    target = replicate.find_model(shipped_catalog(), "black-forest-labs", "flux-schnell")
    return replicate.to_request(target, body, shipped_catalog(), idempotency_key=None, cancel_after=None)


def _draw(fields: Mapping[str, Any]) -> GenerationRequest:
    try:
        body = TextToImageBody.model_validate(fields)
    except ValidationError as error:
        raise first_validation_error(error) from error
    return a1111.to_request(body, shipped_catalog(), "sdxl-1.0", {}, idempotency_key=None)


def _text_to_image(fields: Mapping[str, Any]) -> GenerationRequest:
    try:
        body = TextToImageRequest.model_validate(fields)
    except ValidationError as error:
        raise first_validation_error(error) from error
    asked = "black-forest-labs/FLUX.1-schnell"
    return huggingface.to_request(body, shipped_catalog(), asked, "image/png", idempotency_key=None)


@cache
def graph_policy() -> GraphPolicy:
    """The policy of callers' own graphs, without files."""
    return GraphPolicy(facts=load_core_node_facts())


def fuzz_own_graphs(data: bytes) -> None:
    """Graphs of callers: whatever is checked is rejected or can be sent."""
    try:
        graph = parse_json_object(data)
    except ServiceError:
        return
    with suppress(GraphRejected):
        checked = graph_policy().check(graph)
        own_graph_model(checked.nodes, checked.outputs)
        estimate_seconds(checked)


#: From the fields of a body, and whether they are those of a form, to the request. Raises ServiceError.
DIALECTS: tuple[Translate, ...] = (
    lambda fields, form: pixel_factory.to_request(
        parse_body(ImageGenerationBody, fields, form=form), shipped_catalog(), form=form, idempotency_key=None
    ),
    lambda fields, form: openai_images.to_edit_request(
        parse_body(ImageEditBody, fields, form=form), shipped_catalog(), form=form, idempotency_key=None
    ),
    lambda fields, form: openai_images.to_variation_request(
        parse_body(ImageVariationBody, fields, form=form), shipped_catalog(), form=form, idempotency_key=None
    ),
    lambda fields, form: openai_videos.to_request(
        parse_body(openai_videos.VideoCreateBody, fields, form=form),
        shipped_catalog(),
        form=form,
        idempotency_key=None,
    ),
    lambda fields, form: pixelapi.to_request(
        parse_body(pixelapi.PixelApiGenerateBody, fields), shipped_catalog(), idempotency_key=None
    ),
    lambda fields, form: pixeldojo.to_request(
        "flux-1-schnell", parse_body(pixeldojo.RunBody, fields), shipped_catalog(), idempotency_key=None
    ),
    *(_pixazo(endpoint) for endpoint in PIXAZO_ENDPOINTS if endpoint.catalog_id in shipped_catalog()),
    lambda fields, form: to_run_request(
        "flux-1-dev", fields, shipped_catalog(), own_names=replicate.FIELD_NAMES, idempotency_key=None
    ),
    lambda fields, form: _predict(fields),
    lambda fields, form: fal.to_request(
        "fal-ai/flux/schnell", "flux-1-schnell", fields, shipped_catalog(), idempotency_key=None
    ),
    lambda fields, form: _draw(fields),
    lambda fields, form: _text_to_image(fields),
)

#: Every target by its name, which is also that of its folder in the corpus.
TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "archives": fuzz_archives,
    "bodies": fuzz_bodies,
    "compressed_bodies": fuzz_compressed_bodies,
    "forms": fuzz_forms,
    "images": fuzz_images,
    "importer": fuzz_importer,
    "large_json": fuzz_large_json,
    "media": fuzz_media,
    "messages": fuzz_messages,
    "own_graphs": fuzz_own_graphs,
    "payloads": fuzz_payloads,
    "renderer": fuzz_renderer,
    "responses": fuzz_responses,
    "tensors": fuzz_tensors,
}
