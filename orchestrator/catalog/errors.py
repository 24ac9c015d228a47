"""What is wrong with a model on disk, in words for its author."""

from __future__ import annotations

from pathlib import Path


class CatalogError(Exception):
    """A model can not be used. The message names the file and, where known, the key, node or input."""

    def __init__(self, message: str, *, file: Path | str, where: str = "") -> None:
        place = f"{file}: {where}" if where else str(file)
        super().__init__(f"{place}: {message}")
        self.file = Path(file)
        #: Key of the manifest, or `node NODE, input INPUT` of the graph.
        self.where = where
        self.reason = message
