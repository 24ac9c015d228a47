"""Brings the files that an author fixed to an instance.

A file has its digest as its name, and stays in the input folder of the instance: the next run finds it there,
and ComfyUI need not run the nodes again that depend on nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from comfy_instances.protocol.errors import BadGraph
from comfy_instances.session.session import InstanceSession
from orchestrator.catalog import Model
from orchestrator.catalog.example_files import ExampleFile
from orchestrator.catalog.manifest import FIXED_FILES_PARAM
from orchestrator.media.sniffing import EXTENSIONS

NAME_PREFIX = "pixelfactory-fixed-"


async def have_fixed_files(session: InstanceSession, model: Model) -> dict[str, Any]:
    """Have the fixed files of a model on the instance, and return the parameter for its graph.

    Raises InstanceError, also for a model whose files are not known.
    """
    if not model.manifest.fixed_files:
        return {}
    files = model.fixed_files
    unknown = [row.name for slot, row in model.manifest.fixed_files.items() if slot not in files]
    if unknown:
        raise BadGraph(f"the model {model.id} lacks the content of {', '.join(unknown)}; publish it again")
    names = await asyncio.gather(*(_have_file(session, file) for file in files.values()))
    return {FIXED_FILES_PARAM: dict(zip(files, names, strict=True))}


async def _have_file(session: InstanceSession, file: ExampleFile) -> str:
    """Return the name by which graphs refer to the file."""
    name = f"{NAME_PREFIX}{hashlib.sha256(file.data).hexdigest()}.{EXTENSIONS[file.content_type]}"
    return await session.have_input(name, file.data, file.content_type)
