"""The mark of a restore that was interrupted while it replaced files, and its check at every start."""

from __future__ import annotations

from pathlib import Path

_MARK_NAME = "restore-unfinished"


class RestoreUnfinished(Exception):
    """A restore of the data directory was interrupted; its files may belong to different backups."""


def unfinished_mark(data_dir: Path) -> Path:
    """Return the file that exists while a restore replaces files; it names the backup."""
    return data_dir / _MARK_NAME


def require_finished_restore(data_dir: Path) -> None:
    """Raise RestoreUnfinished if a restore of this data directory was interrupted."""
    mark = unfinished_mark(data_dir)
    if mark.exists():
        backup = mark.read_text("utf-8").strip()
        raise RestoreUnfinished(
            f"A restore of {data_dir} was interrupted while it replaced files; finish it with"
            f" `pixelfactory restore --replace {backup}`"
        )
