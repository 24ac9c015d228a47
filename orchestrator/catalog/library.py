"""The catalog of models: load, reload and write the model folders of a directory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path

from orchestrator.catalog.errors import CatalogError
from orchestrator.catalog.example_files import EXAMPLES_NAME, MAX_STORED_BYTES
from orchestrator.catalog.fixed_files import FIXED_FILES_NAME
from orchestrator.catalog.manifest import ModelKind
from orchestrator.catalog.model import Model
from orchestrator.catalog.rendering.graph import MAX_GRAPH_BYTES
from orchestrator.catalog.tasks import Task, TaskModels, unserved_task_error
from orchestrator.errors import InvalidRequest
from orchestrator.similar_names import find_similar

_KIND_ORDER = list(ModelKind)
#: Models whose parsed form is kept, for the next load of the same files, and characters of the files of each:
#: fixed files and examples can have megabytes, and old versions of them are not to stay in memory.
MAX_PARSED_MODELS, MAX_KEPT_CHARACTERS = 256, 128 * 1024
#: How many ids the error for an unknown model suggests.
MAX_SUGGESTED_NAMES = 3


class Catalog:
    """Models in the order of the model list: by kind, featured ones first, then by id. Immutable."""

    def __init__(
        self,
        models: Sequence[Model],
        stand_ins: Mapping[str, TaskModels | str] | None = None,
        drafts: Mapping[str, Model] | None = None,
    ) -> None:
        """`stand_ins` maps further names to the id of a model, or to ids by task; `drafts` names drafts.

        Raises CatalogError if two models have the same id or alias.
        """
        self._drafts = dict(drafts or {})
        self._models = sorted(models, key=_sort_key)
        self.stand_ins = {
            name: TaskModels(model=row) if isinstance(row, str) else row
            for name, row in (stand_ins or {}).items()
        }
        self._by_name: dict[str, Model] = {}
        for model in self._models:
            for name in (model.id, *model.aliases):
                other = self._by_name.setdefault(name, model)
                if other is not model:
                    raise CatalogError(
                        f"the name is already used by the model {other.id}", file=model.id, where=name
                    )

    @classmethod
    def load(cls, directory: Path, overlay: Path | None = None) -> Catalog:
        """Load every folder with a `model.toml` of a directory, or that of the same name in `overlay`.

        Raises CatalogError if one is invalid.
        """
        return cls([load_model(folder) for folder in find_model_folders(directory, overlay)])

    def reload(
        self,
        directory: Path,
        accept: Callable[[Model], None] = lambda model: None,
        overlay: Path | None = None,
    ) -> tuple[Catalog, list[CatalogError]]:
        """Return the catalog of the directories' current files, and the errors of rejected models.

        A model that is invalid, uses the name of another one, or is rejected by `accept` (which raises
        CatalogError) keeps its version in this catalog, or is left out if it is new. Unchanged models are
        the same objects; stand-ins are copied. Raises CatalogError if the directory does not exist.
        """
        models: list[Model] = []
        rejections: list[CatalogError] = []
        for folder in find_model_folders(directory, overlay):
            try:
                model = self._reuse_unchanged(load_model(folder))
                accept(model)
                models = [*Catalog([*models, model])]
            except CatalogError as error:
                rejections.append(error)
                models += self._previous_version(folder.name, models)
        return Catalog(models, self.stand_ins), rejections

    def _reuse_unchanged(self, model: Model) -> Model:
        """Return this catalog's model if the source is the same: caches are keyed by the object."""
        old = self._by_name.get(model.id)
        return old if old is not None and old.source == model.source else model

    def _previous_version(self, id: str, models: list[Model]) -> list[Model]:
        """Return the model `id` of this catalog, unless one of `models` uses one of its names by now."""
        old = self._by_name.get(id)
        taken = {name for model in models for name in (model.id, *model.aliases)}
        return [old] if old and old.id == id and not taken & {old.id, *old.aliases} else []

    def __getitem__(self, name: str) -> Model:
        """Return the model with that id, alias or stand-in. Raises InvalidRequest (`model_not_found`)."""
        model = self._find(name)
        if model is None:
            # Shortened, since the name may be any text that a caller sent.
            shown = name[:100] if isinstance(name, str) else type(name).__name__
            raise InvalidRequest(
                f"Model {shown!r} does not exist{self._suggest_names(shown)} `GET /v1/models` lists all",
                code="model_not_found",
                param="model",
            )
        return model

    def resolve(self, name: str, *tasks: Task) -> Model:
        """Return the model of a name for the first of the tasks that the name serves.

        Raises InvalidRequest (`model_not_found`, or `unsupported_model` if it serves none of them).
        """
        named, fallback = self._task_models(name), self[name]
        if named is None:
            return fallback
        for task in tasks:
            model = self._by_name.get(named.find(task) or "")
            if model is not None:
                return model
        raise unserved_task_error(name, tasks[0], self.tasks_of(name))

    def tasks_of(self, name: str) -> dict[Task, Model]:
        """Return the models of a name by task; nothing for a name with one model for everything."""
        named = self._task_models(name)
        if named is None or named.by_field().keys() == {"model"}:
            return {}
        found = ((task, self._by_name.get(named.find(task) or "")) for task in Task)
        return {task: model for task, model in found if model is not None}

    def models_of(self, name: str) -> list[Model]:
        """Return all models that requests for a name may use. Raises InvalidRequest (`model_not_found`)."""
        return list(dict.fromkeys([self[name], *self.tasks_of(name).values()]))

    def offers(self) -> Iterator[tuple[str, Model]]:
        """Yield the names for lists of models, ids and then stand-ins, with the model for the first task."""
        yield from self.names()
        for name in self.stand_ins:
            stand_in = self._find(name)
            if stand_in is not None:
                yield name, stand_in

    def names(self) -> Iterator[tuple[str, Model]]:
        """Yield models and drafts by the name that chooses them: the id, or `ID@draft` of a live one."""
        for model in self._models:
            yield model.id, model
        for draft in dict.fromkeys(self._drafts.values()):
            names = [name for name, named in self._drafts.items() if named is draft]
            yield min(names, key=lambda name: name != draft.id), draft

    def parameters_of(self, name: object) -> Collection[str]:
        """Return the names of the parameters of a name's models; none if there is no such model."""
        if not isinstance(name, str) or name not in self:
            return ()
        return frozenset(chain.from_iterable(model.parameters for model in self.models_of(name)))

    def ids_with_alias(self, name: str) -> list[str]:
        """Return the id of the model that has this alias, if there is one."""
        model = self._by_name.get(name)
        return [model.id] if model and name in model.aliases else []

    def _suggest_names(self, name: str) -> str:
        """Return "; did you mean ...?" with the ids and stand-ins like `name`, or ";" if none is."""
        close = find_similar(name, [*self._by_name, *self.stand_ins], MAX_SUGGESTED_NAMES)
        ids = dict.fromkeys(self._by_name[each].id if each in self._by_name else each for each in close)
        return f"; did you mean {' or '.join(ids)}?" if ids else ";"

    def __contains__(self, name: object) -> bool:
        return self._find(name) is not None

    def _find(self, name: object) -> Model | None:
        if not isinstance(name, str):
            return None
        if name in self._by_name:
            return self._by_name[name]
        if name in self._drafts:
            return self._drafts[name]
        ids = self.stand_ins[name].names() if name in self.stand_ins else ()
        return next((self._by_name[id] for id in ids if id in self._by_name), None)

    def defaults_of(self, name: str | None) -> TaskModels | None:
        """Return the row with the size and length of videos of a name; None for a name without a row."""
        return self._task_models(name) if name is not None else None

    def _task_models(self, name: str) -> TaskModels | None:
        """Return the models by task of a stand-in or an alias; None for a name of one model."""
        model = self._by_name.get(name)
        if model is None:
            return self.stand_ins.get(name)
        return model.manifest.alias_tasks.get(name)

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def with_stand_ins(self, stand_ins: Mapping[str, TaskModels | str]) -> Catalog:
        """Return a catalog of the same models with these stand-in names."""
        return Catalog(self._models, stand_ins)

    def with_drafts(self, drafts: Mapping[str, Model]) -> Catalog:
        """Return the catalog with drafts by their names.

        A draft of a model that is not offered has its id as a name too, and is listed by it.
        """
        named = dict(drafts)
        for draft in drafts.values():
            named |= {
                name: draft for name in (draft.id, *draft.aliases) if name not in self and name not in named
            }
        return Catalog(self._models, self.stand_ins, named)

    def model_of_request(self, name: str, served_by: str | None) -> Model:
        """Return the model of a request: the one chosen for its task, or that of the name.

        A name of a draft means the draft. Raises InvalidRequest (`model_not_found`).
        """
        return self[name if served_by is None or name in self._drafts else served_by]


def find_model_folders(directory: Path, overlay: Path | None = None) -> list[Path]:
    """Return the model folders of a directory, sorted by name, some replaced by those of an overlay.

    Raises CatalogError if the directory does not exist; an overlay need not exist.
    """
    if not directory.is_dir():
        raise CatalogError("the directory does not exist", file=directory)
    manifests = [*directory.glob("*/model.toml"), *(overlay.glob("*/model.toml") if overlay else ())]
    folders = {manifest.parent.name: manifest.parent for manifest in manifests}
    return [folders[name] for name in sorted(folders)]


def _parse(folder: Path, texts: tuple[str, ...], fixed_files: str) -> Model:
    manifest, graph, nodes, examples = texts
    return Model.parse(manifest, graph, folder, nodes, examples, fixed_files_text=fixed_files)


#: Returns the same object while the texts are unchanged, as most are at a reload.
_parse_unchanged = lru_cache(maxsize=MAX_PARSED_MODELS)(_parse)


def load_model(folder: Path) -> Model:
    """Load the model in `folder`. Raises CatalogError."""
    nodes, examples, fixed = folder / "nodes.json", folder / EXAMPLES_NAME, folder / FIXED_FILES_NAME
    texts = (
        _read_text(folder / "model.toml"),
        _read_text(folder / "graph.json"),
        _read_text(nodes) if nodes.exists() else "{}",
        _read_text(examples, MAX_STORED_BYTES) if examples.exists() else "",
    )
    fixed_files = _read_text(fixed, MAX_STORED_BYTES) if fixed.exists() else ""
    is_large = sum(map(len, texts)) + len(fixed_files) > MAX_KEPT_CHARACTERS
    model = (_parse if is_large else _parse_unchanged)(folder, texts, fixed_files)
    if model.id != folder.name:
        raise CatalogError(
            f"must be the name of the folder, {folder.name!r} (got {model.id!r})", file=folder, where="id"
        )
    return model


def write_model(directory: Path, id: str, files: Mapping[str, str]) -> Path:
    """Write the folder of a new model into `directory`, completely or not at all.

    Raises CatalogError if the folder exists, OSError.
    """
    folder = directory / id
    if folder.exists():
        raise CatalogError("the model exists already; remove its folder or choose another id", file=folder)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=directory) as draft:
        made = Path(draft) / id
        made.mkdir()
        for name, text in files.items():
            (made / name).write_text(text, encoding="utf-8")
        # A running service that watches the directory never sees an incomplete folder.
        made.rename(folder)
    return folder


def _read_text(file: Path, max_bytes: int = MAX_GRAPH_BYTES) -> str:
    try:
        if file.stat().st_size > max_bytes:
            raise CatalogError(f"the file is larger than {max_bytes} bytes", file=file)
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"cannot be read: {error}", file=file) from error


def _sort_key(model: Model) -> tuple[int, bool, str]:
    return _KIND_ORDER.index(model.kind), not model.manifest.featured, model.id
