"""Weight files: what models need of them, getting them, whether they are right, making them smaller."""

from __future__ import annotations
