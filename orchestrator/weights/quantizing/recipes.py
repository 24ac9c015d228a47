"""Which layers of an architecture are quantized, and which are not: `recipes/*.toml`.

A recipe has a regular expression for the layers of its repeated blocks; all others keep their type. Rules
name layers within the blocks that keep it, too, or take more bits than the rest, each with its reason and the
error that the change would cause.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from orchestrator.catalog.errors import first_validation_error
from orchestrator.catalog.parameters.values import StrictModel
from orchestrator.weights.errors import BadWeightFile, WeightError
from orchestrator.weights.quantizing.formats import FORMATS, WEIGHT, QuantizedFormat
from orchestrator.weights.quantizing.sources import WeightSource

RECIPES_DIR = Path(__file__).with_name("recipes")
#: The recipe that fits any network; it is used only where it is named.
GENERIC = "generic"
#: Matrices with a shorter side keep their type: they are small.
MIN_SIDE = 64
_SOURCE_DTYPES = frozenset({"F32", "F16", "BF16"})
_BLOCK_NUMBER = re.compile(r"\.(\d+)\.")


class Rule(StrictModel):
    """Layers within the blocks that keep their type, or take more bits than the others."""

    #: Regular expression, found anywhere in the name of a layer.
    layers: str
    #: Type that the layers take: their own, or one with more bits than the format of the file.
    store: Literal["16bit", "fp8", "mxfp8"] = "16bit"
    #: Formats for which the rule holds.
    formats: tuple[Literal["nvfp4", "mxfp8", "fp8"], ...] = ("nvfp4", "mxfp8", "fp8")
    #: Only the first blocks of a stack, at most a quarter of them; 0 for no such limit.
    first: int = Field(0, ge=0)
    #: Only the last blocks, likewise.
    last: int = Field(0, ge=0)
    reason: str = Field(min_length=10)
    #: Relative change of the network's output if these layers alone are quantized to NVFP4, as measured on
    #: the network that `measured` names.
    error: float = Field(gt=0, lt=1)

    @field_validator("layers")
    @classmethod
    def _validate_pattern(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        return pattern


class Recipe(StrictModel):
    """One file of `recipes/`."""

    #: Name of the architecture, as the file's.
    architecture: str
    description: str
    #: Tensors that all files of the architecture have; `a|b` for either.
    detect: tuple[str, ...] = ()
    #: Tensors that none of them has.
    absent: tuple[str, ...] = ()
    #: What comes before the names in files that hold several networks.
    prefixes: tuple[str, ...] = ("", "model.diffusion_model.")
    #: Regular expression for the layers of the repeated blocks, from the start of the name.
    blocks: str
    #: How the errors of the rules were measured.
    measured: str = Field(min_length=10)
    rules: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _validate_detection(self) -> Self:
        if not self.detect and self.architecture != GENERIC:
            raise ValueError("`detect` must name at least one tensor")
        re.compile(self.blocks)
        return self


@dataclass(frozen=True, slots=True)
class FoundRecipe:
    """A recipe and the prefix of the network within the file."""

    recipe: Recipe
    prefix: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one tensor."""

    #: None if it is copied as it is.
    format: QuantizedFormat | None
    #: Why it does not get the format of the file; empty if it does.
    reason: str = ""


@cache
def load_recipes(directory: Path = RECIPES_DIR) -> Mapping[str, Recipe]:
    """Read all recipes, by architecture. Raises WeightError naming file and field."""
    recipes: dict[str, Recipe] = {}
    for file in sorted(directory.glob("*.toml")):
        try:
            recipe = Recipe.model_validate(_as_tuples(tomllib.loads(file.read_text("utf-8"))))
        except tomllib.TOMLDecodeError as error:
            raise WeightError(f"{file}: not valid TOML: {error}") from error
        except ValidationError as error:
            raise WeightError(str(first_validation_error(error, file))) from error
        if recipe.architecture != file.stem:
            raise WeightError(f"{file}: `architecture` must be {file.stem!r} (got {recipe.architecture!r})")
        recipes[recipe.architecture] = recipe
    return recipes


def find_recipe(names: Collection[str], recipes: Mapping[str, Recipe], wanted: str | None) -> FoundRecipe:
    """Return the recipe for the names of a file's tensors, or the one that `wanted` names.

    Raises BadWeightFile if none or several fit, WeightError if there is none of this name.
    """
    if wanted is not None and wanted not in recipes:
        raise WeightError(f"unknown recipe {wanted!r}; use one of {', '.join(sorted(recipes))}")
    chosen = [recipes[wanted]] if wanted else [one for name, one in recipes.items() if name != GENERIC]
    known = frozenset(names)
    found = [
        FoundRecipe(recipe, prefix)
        for recipe in chosen
        for prefix in recipe.prefixes
        if _fits(recipe, prefix, known)
    ]
    if len(found) == 1:
        return found[0]
    if wanted == GENERIC:
        return FoundRecipe(recipes[GENERIC], "")
    if wanted:
        missing = [name for name in recipes[wanted].detect if not _has(known, "", name)]
        raise BadWeightFile(
            f"the file has no tensor {missing[0] if missing else '?'}, which every file of {wanted} has:"
            " name another --recipe, or none"
        )
    names_found = ", ".join(sorted(one.recipe.architecture for one in found)) or "none"
    raise BadWeightFile(
        f"the architecture is not clear from the names of the tensors ({names_found} fit): name it by"
        f" --recipe ({', '.join(sorted(recipes))})"
    )


class RecipeDecisions:
    """Decides what becomes of each tensor of one source."""

    def __init__(self, found: FoundRecipe, kind: QuantizedFormat, keep_pattern: str = "") -> None:
        """Layers that match the regular expression `keep_pattern` keep their type in any case.

        Raises WeightError if it is none.
        """
        self._found = found
        self._format = kind
        self._keep = _compile_keep_pattern(keep_pattern)
        self._blocks = re.compile(found.recipe.blocks)
        self._rules = [
            (rule, re.compile(rule.layers)) for rule in found.recipe.rules if kind.name in rule.formats
        ]
        self._depth_by_stack: dict[str, int] = {}

    def decide(self, source: WeightSource) -> dict[str, Decision]:
        """Return the decision for each tensor, by name."""
        for name in source.tensors:
            stack, number = self._block_of(name)
            self._depth_by_stack[stack] = max(self._depth_by_stack.get(stack, 0), number + 1)
        return {
            name: self._decide_one(name, one.info.dtype, one.info.shape)
            for name, one in source.tensors.items()
        }

    def _decide_one(self, name: str, dtype: str, shape: tuple[int, ...]) -> Decision:
        prefix = self._found.prefix
        if not name.endswith(WEIGHT) or len(shape) != 2 or dtype not in _SOURCE_DTYPES:
            return Decision(None, "not a matrix of 16 or 32 bits")
        layer = name.removeprefix(prefix).removesuffix(WEIGHT)
        if not name.startswith(prefix) or self._blocks.match(f"{layer}.") is None:
            return Decision(None, "outside of the repeated blocks")
        if self._keep and self._keep.search(name):
            return Decision(None, "kept by --keep")
        kind, reason = self._format, ""
        for rule, pattern in self._rules:
            if pattern.search(layer) and self._in_range(rule, name):
                reason = rule.reason
                if rule.store == "16bit":
                    return Decision(None, reason)
                kind = FORMATS[rule.store]
                break
        multiple = kind.side_multiple
        if min(shape) < MIN_SIDE or any(side % multiple for side in shape):
            return Decision(None, f"its sides are not multiples of {multiple}, or shorter than {MIN_SIDE}")
        return Decision(kind, reason)

    def _in_range(self, rule: Rule, name: str) -> bool:
        """Whether the block of a layer is among the first or the last ones that a rule is limited to."""
        if not rule.first and not rule.last:
            return True
        stack, number = self._block_of(name)
        depth = self._depth_by_stack[stack]
        return number < min(rule.first, depth // 4) or number >= depth - min(rule.last, depth // 4)

    def _block_of(self, name: str) -> tuple[str, int]:
        found = _BLOCK_NUMBER.search(f".{name.removeprefix(self._found.prefix)}")
        return ("", 0) if found is None else (name[: found.start() + len(self._found.prefix)], int(found[1]))


def _compile_keep_pattern(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern) if pattern else None
    except re.error as error:
        raise WeightError(
            f"--keep must be a regular expression such as 'blocks\\.0\\.' (got {pattern!r}: {error})"
        ) from error


def _fits(recipe: Recipe, prefix: str, names: Collection[str]) -> bool:
    return bool(recipe.detect) and (
        all(_has(names, prefix, name) for name in recipe.detect)
        and not any(_has(names, prefix, name) for name in recipe.absent)
    )


def _has(names: Collection[str], prefix: str, alternatives: str) -> bool:
    return any(prefix + name in names for name in alternatives.split("|"))


def _as_tuples(value: object) -> object:
    """Turn TOML's lists into tuples: strict validation takes no lists for them."""
    if isinstance(value, list):
        return tuple(map(_as_tuples, value))
    return {key: _as_tuples(one) for key, one in value.items()} if isinstance(value, dict) else value
