"""Where the values of settings come from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, TomlConfigSettingsSource

_CONFIG_FILE: ContextVar[Path | None] = ContextVar("config_file", default=None)


@contextmanager
def config_file(path: Path | None) -> Iterator[None]:
    """Read settings that are made in the block from a file too."""
    token = _CONFIG_FILE.set(path)
    try:
        yield
    finally:
        _CONFIG_FILE.reset(token)


class FileSettings(BaseSettings):
    """Settings from values that are given, then from the environment, then from the file if there is one."""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *sources: Any, **named: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        config = _CONFIG_FILE.get()
        file = TomlConfigSettingsSource(settings_cls, config) if config else None
        found = (named["init_settings"], named["env_settings"], file)
        return tuple(source for source in found if source is not None)
