# Short names for the common commands; `just` lists them.

_default:
    @just --list

# Lint, types, layers and the tests of all tiers; arguments go to pytest.
test *arguments:
    scripts/test {{arguments}}

# The inner loop: lint, types, layers and the fast tests.
fast *arguments:
    scripts/test --fast {{arguments}}

# Start a simulated service and make an image, a video and an upscale.
demo *arguments:
    scripts/demo {{arguments}}

# Build the documentation into site/, strictly.
docs:
    scripts/install docs
    .venv/bin/zensical build --strict

# Lint, types and layers.
lint:
    scripts/install test
    .venv/bin/ruff check .
    .venv/bin/ruff format --check .
    .venv/bin/mypy
    .venv/bin/lint-imports --no-logo
    PATH="$PWD/.venv/bin:$PATH" scripts/lint-js/check

# Format and fix what can be fixed.
fmt:
    scripts/install test
    .venv/bin/ruff check --fix .
    .venv/bin/ruff format .

# All tests, also those marked slow.
all *arguments:
    scripts/test --all {{arguments}}
