"""The screenshots of the page on publishing show what authors see today."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.support.service import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium: apt-get install chromium"),
]
PAGE = ROOT / "docs" / "how-to" / "publish.md"


def test_the_script_draws_every_screenshot_of_the_page(tmp_path: Path) -> None:
    shown = set(re.findall(r"\.\./images/([a-z-]+\.png)", PAGE.read_text("utf-8")))
    subprocess.run([sys.executable, "-m", "scripts.publish_screenshots", tmp_path], cwd=ROOT, check=True)
    assert {file.name for file in tmp_path.iterdir()} == shown
    for name in shown:
        with Image.open(ROOT / "docs" / "images" / name) as kept, Image.open(tmp_path / name) as drawn:
            # A dialog with another height has other rows than the one on the page.
            assert abs(kept.width - drawn.width) <= 40, name
            assert abs(kept.height - drawn.height) <= 80, name
            assert len(drawn.convert("RGB").getcolors(2**24) or ()) > 20, name
