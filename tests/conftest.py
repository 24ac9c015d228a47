"""Every test starts without settings of its machine."""

from __future__ import annotations

import os

from tests.support.s3_server import s3  # noqa: F401 - a fixture for all tests

for name in [name for name in os.environ if name.startswith("PIXELFACTORY_")]:
    # The one setting that says what is installed here, not how the service shall behave.
    if name != "PIXELFACTORY_COMFYUI_DIR":
        del os.environ[name]
