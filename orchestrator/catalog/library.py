"""The catalogue: all models of one or more directories, by id and alias.

Here alone does the catalogue touch a disk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from orchestrator.catalog.errors import CatalogError
from orchestrator.catalog.manifest import ModelKind
from orchestrator.catalog.model import Model
from orchestrator.catalog.rendering.graph import MAX_GRAPH_BYTES
from orchestrator.errors import InvalidRequest

_KIND_ORDER = list(ModelKind)
#: How many ids the error for an unknown model suggests.
MAX_SUGGESTED_NAMES = 3


class Catalog:
    """Models in the order of the model list: by kind, featured ones first, then by id. Immutable."""

    def __init__(self, models: Sequence[Model], stand_ins: Mapping[str, str] | None = None) -> None:
        """`stand_ins_path` are ids of models by names that they answer to besides their own.

        Raises CatalogError when two models claim one id or alias.
        """
        self._models = sorted(models, key=_sort_key)
        self.stand_ins = dict(stand_ins or {})
        self._by_name: dict[str, Model] = {}
        for model in self._models:
            for name in (model.id, *model.aliases):
                other = self._by_name.setdefault(name, model)
                if other is not model:
                    raise CatalogError(f"the name is taken by {other.id}", file=model.id, where=name)

    @classmethod
    def load(cls, directory: Path, *extra: Path) -> Catalog:
        """Every folder with a `model.toml` in the directories. Raises CatalogError for the first that
        is not right."""
        folders = [folder for parent in (directory, *extra) for folder in find_model_folders(parent)]
        return cls([load_model(folder) for folder in folders])

    def reload(
        self, directory: Path, accept: Callable[[Model], None] = lambda model: None
    ) -> tuple[Catalog, list[CatalogError]]:
        """The catalogue as the directory has it now, and why some of it is refused.

        A model whose folder is broken, claims a taken name, or is refused by `accept` (which raises
        CatalogError) stays as it was in this catalogue, or stays away if it is new. What has not changed
        is the same object; stand-ins are not looked at. Raises CatalogError where the directory itself is
        gone.
        """
        models: list[Model] = []
        refused: list[CatalogError] = []
        for folder in find_model_folders(directory):
            try:
                model = self._reuse_unchanged(load_model(folder))
                accept(model)
                models = [*Catalog([*models, model])]
            except CatalogError as error:
                refused.append(error)
                models += self._previous_version(folder.name, models)
        return Catalog(models, self.stand_ins), refused

    def _reuse_unchanged(self, model: Model) -> Model:
        """The model of this catalogue where it has not changed: what is known of it stays known."""
        old = self._by_name.get(model.id)
        return old if old is not None and old.source == model.source else model

    def _previous_version(self, id: str, models: list[Model]) -> list[Model]:
        """The model `id` of this catalogue, unless one of `models` has taken a name of its by now."""
        old = self._by_name.get(id)
        taken = {name for model in models for name in (model.id, *model.aliases)}
        return [old] if old and old.id == id and not taken & {old.id, *old.aliases} else []

    def __getitem__(self, name: str) -> Model:
        """The model of that id or alias, or the one that stands in for it. Raises InvalidRequest
        (`model_not_found`)."""
        model = self._find(name)
        if model is None:
            # Not echoed in full: the name may be anything that a caller sent.
            shown = name[:100] if isinstance(name, str) else type(name).__name__
            raise InvalidRequest(
                f"Model {shown!r} does not exist{self._suggest_names(shown)}",
                code="model_not_found",
                param="model",
            )
        return model

    def _suggest_names(self, name: str) -> str:
        """Return "; did you mean ...?" with the ids closest to `name`, or nothing if none is close."""
        close = get_close_matches(name.lower(), self._by_name, n=MAX_SUGGESTED_NAMES)
        ids = dict.fromkeys(self._by_name[each].id for each in close)
        return f"; did you mean {' or '.join(ids)}?" if ids else ""

    def __contains__(self, name: object) -> bool:
        return self._find(name) is not None

    def _find(self, name: object) -> Model | None:
        if not isinstance(name, str):
            return None
        return self._by_name.get(name) or self._by_name.get(self.stand_ins.get(name, ""))

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def with_stand_ins(self, stand_ins: Mapping[str, str]) -> Catalog:
        """The same models, which answer to these names too."""
        return Catalog(self._models, stand_ins)


def find_model_folders(directory: Path) -> list[Path]:
    """Folders that hold a model, sorted. Raises CatalogError where there is no such directory."""
    if not directory.is_dir():
        raise CatalogError("no such directory", file=directory)
    return sorted(manifest.parent for manifest in directory.glob("*/model.toml"))


def load_model(folder: Path) -> Model:
    """The model in `folder`. Raises CatalogError."""
    nodes = folder / "nodes.json"
    model = Model.parse(
        _read_text(folder / "model.toml"),
        _read_text(folder / "graph.json"),
        folder,
        _read_text(nodes) if nodes.exists() else "{}",
    )
    if model.id != folder.name:
        raise CatalogError(f"is {model.id!r}, but the folder is {folder.name!r}", file=folder, where="id")
    return model


def write_model(directory: Path, id: str, files: Mapping[str, str]) -> Path:
    """Puts a new model's folder under `directory`, whole or not at all.

    Raises CatalogError where there is such a folder already, OSError.
    """
    folder = directory / id
    if folder.exists():
        raise CatalogError("there is such a model already", file=folder)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=directory) as draft:
        made = Path(draft) / id
        made.mkdir()
        for name, text in files.items():
            (made / name).write_text(text, encoding="utf-8")
        # A running service that looks at the directory sees the folder complete.
        made.rename(folder)
    return folder


def _read_text(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_GRAPH_BYTES:
            raise CatalogError(f"larger than {MAX_GRAPH_BYTES} bytes", file=file)
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"can not be read: {error}", file=file) from error


def _sort_key(model: Model) -> tuple[int, bool, str]:
    return _KIND_ORDER.index(model.kind), not model.manifest.featured, model.id
