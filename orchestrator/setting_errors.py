"""Messages of invalid settings: they name the setting where it was set, and the way out."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.similar_names import find_similar

if TYPE_CHECKING:
    from pydantic import ValidationError

ENVIRONMENT_PREFIX = "PIXELFACTORY_"
#: The flags of commands by the setting that they set.
_FLAGS = {
    "data_dir": "--data-dir",
    "host": "--host",
    "instances": "--instances",
    "port": "--port",
    "ray_address": "--ray",
    "simulate": "--simulate",
}
#: Variables that are no settings: commands, tests and their servers use them.
_OTHER_VARIABLES = frozenset({"URL", "API_KEY", "ADMIN_URL"})


class SettingsError(Exception):
    """A setting is missing, unknown or invalid; the message names it."""


def describe_invalid_setting(
    error: ValidationError, flags: Mapping[str, Any], config: Path | None, known: Iterable[str]
) -> str:
    """Return what is wrong with the first invalid setting, and how many others are."""
    errors = error.errors()
    first = errors[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        message = f"{config or 'settings'}: there is no setting `{name}`{_suggest(name, known)}"
    else:
        reason = first["msg"].removeprefix("Value error, ")
        message = f"{_place_of(name, flags, config)}: {reason}"
    return message if len(errors) == 1 else f"{message} (and {len(errors) - 1} more)"


def check_config_file(config: Path) -> str | None:
    """Return why a configuration file cannot be read; None if it can."""
    try:
        tomllib.loads(config.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        return f"configuration file not found: {config}"
    except IsADirectoryError:
        return f"configuration file {config} is a directory; name a TOML file"
    except OSError as error:
        return f"configuration file {config} cannot be read: {error.strerror}"
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return f"configuration file {config} is not valid TOML: {error}"
    return None


def find_misspelt_variables(known: Collection[str]) -> list[str]:
    """Return a message for each environment variable that looks like a setting and is none."""
    messages = []
    for variable in sorted(os.environ):
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        is_known = name in known or name.upper() in _OTHER_VARIABLES
        if not is_known and (hint := _suggest(name, known, in_environment=True)):
            messages.append(f"{variable} is no setting and has no effect{hint}")
    return messages


def _suggest(name: str, known: Iterable[str], *, in_environment: bool = False) -> str:
    nearest = find_similar(name, known)
    if not nearest:
        return "" if in_environment else "; docs/reference/settings.md lists all"
    return (
        f"; did you mean {ENVIRONMENT_PREFIX + nearest[0].upper() if in_environment else f'`{nearest[0]}`'}?"
    )


def _place_of(name: str, flags: Mapping[str, Any], config: Path | None) -> str:
    """Return the flag, the environment variable or the key of the file that has set a setting."""
    if name in _FLAGS and flags.get(name) is not None:
        return _FLAGS[name]
    variable = f"{ENVIRONMENT_PREFIX}{name.upper()}"
    return f"{name} in {config}" if config is not None and variable not in os.environ else variable
