"""The author's own files of a model: those of fixed inputs, and the examples of parameters."""

from __future__ import annotations

import tomllib

from orchestrator.catalog.example_files import named_examples
from orchestrator.catalog.manifest import is_input_path
from orchestrator.catalog.model import Model


def list_own_files(model: Model) -> dict[str, bytes | None]:
    """Return the files that the exported graph loads from ComfyUI's input folder, by the names that it has.

    The content is None where it is not kept with the model.
    """
    names = named_examples(tomllib.loads(model.source.manifest))
    files: dict[str, bytes | None] = dict.fromkeys(names.values())
    files |= {file.name: None for file in model.manifest.fixed_files.values()}
    files |= {names.get(parameter, file.name): file.data for parameter, file in model.example_files.items()}
    files |= {file.name: file.data for file in model.fixed_files.values()}
    return {name: data for name, data in files.items() if is_input_path(name)}
