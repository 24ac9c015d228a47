"""Run one fuzz target under libFuzzer: `python -m scripts.fuzz.run_target TARGET LIBFUZZER_ARGUMENT...`.

Needs `atheris` (`pip install -e ".[fuzz]"`). Ends at the first input that makes the target fail.
"""

from __future__ import annotations

import sys

import atheris


def main() -> None:
    name = sys.argv.pop(1)
    with atheris.instrument_imports(
        include=["orchestrator", "comfy_instances"], enable_loader_override=False
    ):
        from scripts.fuzz.targets import TARGETS

    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
