"""Networks as lists of tensor shapes, and the initial values of an untrained network."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from scripts.tiny.formats import Array

#: Names and shapes of tensors.
Shapes = Iterator[tuple[str, tuple[int, ...]]]


def layer_shapes(name: str, *shape: int) -> Shapes:
    """Yield the shapes of weight and bias."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def init_tensors(shapes: Shapes, seed: int) -> dict[str, Array]:
    """Initialise an untrained network: norms of one, biases of zero, weights that preserve the variance."""
    random = np.random.default_rng(seed)
    tensors: dict[str, Array] = {}
    for name, shape in shapes:
        if name.endswith(".gamma"):
            tensors[name] = np.ones(shape, np.float16)
        elif len(shape) > 1:
            tensors[name] = random_array(random, shape)
        else:
            tensors[name] = np.full(shape, name.endswith(".weight"), np.float16)
    return tensors


def random_array(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    weights: Array = random.standard_normal(shape, np.float32)
    weights /= math.sqrt(math.prod(shape[1:]))
    return weights.astype(np.float16)
