"""Runs `pixelfactory up` with a clock that another process can move.

    python -m scripts.bench.campaign.shifted_up OFFSET_FILE [OPTION...]

The file holds the seconds by which the clock is wrong.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrator.app import resources


def main() -> None:
    offset_file = Path(sys.argv[1])

    def shifted_now() -> datetime:
        try:
            offset = float(offset_file.read_text() or 0)
        except (OSError, ValueError):
            offset = 0.0
        return datetime.now(UTC) + timedelta(seconds=offset)

    resources.utc_now = shifted_now
    # Imported afterwards: the modules of the service take the function by name.
    from orchestrator.cli.main import main as run_command

    sys.argv = ["pixelfactory", "up", *sys.argv[2:]]
    run_command()


if __name__ == "__main__":
    main()
