"""Errors name the field that the caller sent: each field of each dialect, with values that it cannot have."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.app.openapi_app import build_offline_service
from orchestrator.catalog import Catalog
from orchestrator.errors import InvalidRequest
from orchestrator.intake.request_preparer import RequestPreparer
from orchestrator.settings import Settings
from orchestrator.web.dialects.pixelapi.translation import PixelApiGenerateBody
from scripts.fuzz.parameters import OWNER, Address, bases, build_addresses, field_names, translated_errors

#: Of the wrong type, out of every range, off every grid, and empty.
WRONG_VALUES: tuple[Any, ...] = (
    None, "x", -1, 10**9, 0.5, True, ["a", 5], {"a": 1}, "", "777x333", "7:1",
)  # fmt: skip
#: Of these, for each field of each address and model: together they are tried often enough.
VALUES_PER_FIELD = 2
#: Of each way to make something: with guidance, without, from an image, with a mask, as a video.
MODELS = ("sdxl-1.0", "flux-1-schnell", "qwen-image-edit", "flux-1-fill-dev", "wan2.1-t2v-fast", "ltx2.3-i2v")
#: What the documents of the services say instead of the name of the field.
PHRASES = {"Invalid webhook URL", "Prompt is required"}


async def find_error(
    preparer: RequestPreparer, catalog: Catalog, address: Address, fields: Mapping[str, Any]
) -> InvalidRequest | None:
    """Return the error of a request, as the route would send it; None if it is accepted."""
    body = None
    try:
        body, request = address.translate(fields)
        with translated_errors(body):
            await preparer.prepare(request, OWNER)
    except InvalidRequest as error:
        return body.use_document_names(error, catalog) if isinstance(body, PixelApiGenerateBody) else error
    return None


@pytest.mark.exhaustive
async def test_every_error_names_the_field_that_was_sent() -> None:
    checked, silent, rng = 0, set[str](), random.Random(4)
    async with build_offline_service(Settings()) as (_, service):
        catalog = service.catalog
        for address in build_addresses(catalog):
            if address.model not in MODELS:
                continue
            base = None
            for fields in bases(address):
                if await find_error(service.request_preparer, catalog, address, fields) is None:
                    base = fields
                    break
            for name in field_names(address) if base is not None else ():
                for value in rng.sample(WRONG_VALUES, VALUES_PER_FIELD):
                    asked = {**(base or {}), name: value}
                    error = await find_error(service.request_preparer, catalog, address, asked)
                    if error is None or error.message in PHRASES:
                        continue
                    checked += 1
                    if name.strip().lower() not in error.message.lower():
                        silent.add(f"{address.name}, {name}={value!r}: {error.message[:150]}")
    assert silent == set()
    assert checked > 2000
