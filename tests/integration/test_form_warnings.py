"""Damaged headers in forms are refused without a trace of them in the log."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
from orchestrator.web.http.multipart import parse_multipart
for header in (b"\\x1b[31mforged line", b"form-data; name=a b", b'form-data; name="a"; filename*=x'):
    form = b"--b\\r\\nContent-Disposition: " + header + b"\\r\\n\\r\\na\\r\\n--b--\\r\\n"
    try:
        parse_multipart(form, "multipart/form-data; boundary=b")
    except ValueError:
        pass
"""


def test_writes_nothing_about_damaged_headers() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
