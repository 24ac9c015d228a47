"""Which service a command is about: the one of --data-dir or --url, or the one that runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yarl import URL

from orchestrator.cli.terminal.console import (
    DEFAULT_URL,
    CliError,
    check_data_directory,
    print_note,
    read_settings,
)
from orchestrator.files.running_services import RunningRecord, list_running_services, running_directory
from orchestrator.files.user_directories import DEFAULT_DATA_DIR, expand_home

if TYPE_CHECKING:
    from orchestrator.settings import Settings

DATA_DIR_VARIABLE = "PIXELFACTORY_DATA_DIR"


def read_service_settings(
    data_dir: Path | None = None, config: Path | None = None, url: str | None = None, **flags: Any
) -> Settings:
    """Load the settings of the service that a command is about.

    Without --data-dir and its setting, these are those of the service at `url`, or of the only one of this
    user that runs. Raises SettingsError, CliError if several run.
    """
    settings = read_settings(data_dir, config, **flags)
    if is_data_dir_chosen(settings, data_dir):
        return settings
    running = _choose_running(settings.data_dir, url)
    if running is None or Path(running.data_dir) == settings.data_dir.resolve():
        return settings
    print_note(f"using {running.data_dir}, the data of the service at {running.url}")
    own_config = Path(running.config) if running.config and config is None else config
    return read_settings(Path(running.data_dir), own_config, **flags)


def find_service_url(url: str | None, data_dir: Path | None = None) -> str:
    """Return the URL of the service: that of the option, or of the service that runs with the data directory.

    Raises CliError for one that is no URL of a server, SettingsError.
    """
    if url is not None:
        return parse_service_url(url)
    chosen = data_dir or os.environ.get(DATA_DIR_VARIABLE)
    if chosen is not None:
        directory = Path(str(expand_home(chosen)))
        check_data_directory(directory)
        same = [one for one in list_running_services() if Path(one.data_dir) == directory.resolve()]
        return same[0].url if same else DEFAULT_URL
    running = _choose_running(DEFAULT_DATA_DIR, None)
    return running.url if running is not None else DEFAULT_URL


def parse_service_url(text: str) -> str:
    """Return the URL of a service without a slash at its end. Raises CliError."""
    try:
        url = URL(text)
        is_valid = url.scheme in ("http", "https") and bool(url.host) and not url.query_string
    except ValueError:
        is_valid = False
    if is_valid:
        return text.rstrip("/")
    # A scheme that is misspelt, such as `htp:/`, is none that a prefix completes.
    has_scheme = ":/" in text
    hint = "" if has_scheme or not text else f"; did you mean http://{text}?"
    raise CliError(f"the URL of the service must be like {DEFAULT_URL} (got {text!r}){hint}")


def is_data_dir_chosen(settings: Settings, data_dir: Path | None) -> bool:
    """Return whether the user has named the data directory."""
    is_named = data_dir is not None or DATA_DIR_VARIABLE in os.environ
    return is_named or settings.data_dir != DEFAULT_DATA_DIR


def describe_search(settings: Settings, data_dir: Path | None) -> str:
    """Return where a command has looked for a running service."""
    if is_data_dir_chosen(settings, data_dir):
        return str(settings.data_dir)
    return f"{settings.data_dir}, and running services in {running_directory() or 'no home directory'}"


def _choose_running(data_dir: Path, url: str | None) -> RunningRecord | None:
    """Return the running service with this URL; by default the only one, or that of the directory."""
    running = list_running_services()
    if url is not None:
        running = [one for one in running if one.url == url.rstrip("/")]
    by_directory = {one.data_dir: one for one in running}
    default = by_directory.get(str(data_dir.resolve()))
    if default is not None or len(by_directory) <= 1:
        return default or next(iter(by_directory.values()), None)
    listed = ", ".join(f"{one.url} ({one.data_dir})" for one in by_directory.values())
    raise CliError(
        f"{len(by_directory)} services run: {listed}; choose one with --data-dir or {DATA_DIR_VARIABLE}"
    )
