"""Code that calls an operation: with curl, Python's `requests` and JavaScript's `fetch`, ready to run.

Address and key come from the environment: `PIXELFACTORY_URL`, `PIXELFACTORY_KEY`, `PIXELFACTORY_ADMIN_TOKEN`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.web.openapi.documented_routes import DocumentedRoute
from orchestrator.web.openapi.operation import Access

_URL, _KEY, _TOKEN = "PIXELFACTORY_URL", "PIXELFACTORY_KEY", "PIXELFACTORY_ADMIN_TOKEN"
_PATH_PARAM = re.compile(r"\{(\w+)\}")
#: Files that are saved, by the part of a content type before the slash.
_SAVED_KINDS = {"image": "png", "video": "mp4", "audio": "flac"}


@dataclass(frozen=True, slots=True)
class _Credential:
    """A header with a secret of the environment."""

    header: str
    prefix: str
    variable: str


_CREDENTIALS: Mapping[Access, _Credential | None] = {
    Access.NONE: None,
    Access.KEY: _Credential("Authorization", "Bearer ", _KEY),
    Access.BASIC: _Credential("Authorization", "Bearer ", _KEY),
    Access.FAL: _Credential("Authorization", "Key ", _KEY),
    Access.GATEWAY: _Credential("Ocp-Apim-Subscription-Key", "", _KEY),
    Access.ADMIN: _Credential("Authorization", "Bearer ", _TOKEN),
    Access.AUTHOR: _Credential("Authorization", "Bearer ", _KEY),
}


def build_code_samples(route: DocumentedRoute, body: Any) -> list[dict[str, str]]:
    """Return the samples as `x-codeSamples`; `body` is the example of the request's body, or None."""
    # What stands for an id is recognised as something to replace.
    path = _PATH_PARAM.sub(lambda found: found[1].upper(), route.path)
    call = _Call(route.method, path, _CREDENTIALS[route.access], body, _saved_as(route))
    return [
        {"lang": "Shell", "label": "curl", "source": _to_curl(call)},
        {"lang": "Python", "label": "Python", "source": _to_python(call)},
        {"lang": "JavaScript", "label": "JavaScript", "source": _to_javascript(call)},
    ]


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    path: str
    credential: _Credential | None
    body: Any
    #: Name of the file that the response becomes; None for JSON and texts.
    file: str | None


def _saved_as(route: DocumentedRoute) -> str | None:
    kinds = [content_type.partition("/")[0] for content_type in route.spec.content_types]
    kind = next((kind for kind in kinds if kind in _SAVED_KINDS), None)
    return None if kind is None or route.method == "HEAD" else f"result.{_SAVED_KINDS[kind]}"


def _to_curl(call: _Call) -> str:
    method = {"GET": "", "HEAD": " --head"}.get(call.method, f" -X {call.method}")
    if call.method == "POST" and call.body is not None:
        method = ""  # what curl takes with --json
    lines = [f'curl{method} "${_URL}{call.path}"']
    if (given := call.credential) is not None:
        lines.append(f'-H "{given.header}: {given.prefix}${given.variable}"')
    if call.body is not None:
        lines.append(f"--json {shlex.quote(json.dumps(call.body, ensure_ascii=False))}")
    if call.file is not None:
        lines.append(f"--output {call.file}")
    return " \\\n  ".join(lines)


def _to_python(call: _Call) -> str:
    arguments = [f'os.environ["{_URL}"] + "{call.path}"']
    if (given := call.credential) is not None:
        secret = f'os.environ["{given.variable}"]'
        value = f'"{given.prefix}" + {secret}' if given.prefix else secret
        arguments.append(f'headers={{"{given.header}": {value}}}')
    if call.body is not None:
        arguments.append(f"json={_indent(_to_literal(call.body))}")
    listed = "".join(f"    {argument},\n" for argument in arguments)
    end = "print(response.text)"
    if call.file is not None:
        end = f'with open("{call.file}", "wb") as file:\n    file.write(response.content)'
    elif call.method == "HEAD":
        end = "print(response.headers)"
    return (
        "import os\n\nimport requests\n\n"
        f"response = requests.{call.method.lower()}(\n{listed})\nresponse.raise_for_status()\n{end}"
    )


def _to_literal(value: Any) -> str:
    """Return a JSON value as Python writes it, with the quotes of the other code."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        rows = [f"    {_to_literal(name)}: {_indent(_to_literal(each))},\n" for name, each in value.items()]
        return f"{{\n{''.join(rows)}}}" if rows else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_to_literal(each) for each in value)}]"
    return repr(value)


def _to_javascript(call: _Call) -> str:
    options = [] if call.method == "GET" else [f'method: "{call.method}"']
    headers = []
    if (given := call.credential) is not None:
        secret = f"process.env.{given.variable}"
        value = f"`{given.prefix}${{{secret}}}`" if given.prefix else secret
        headers.append(f'"{given.header}": {value}')
    if call.body is not None:
        headers.append('"Content-Type": "application/json"')
    if headers:
        options.append(f"headers: {{ {', '.join(headers)} }}")
    if call.body is not None:
        text = _indent(json.dumps(call.body, indent=2, ensure_ascii=False), 2)
        options.append(f"body: JSON.stringify({text})")
    listed = "".join(f"  {option},\n" for option in options)
    second = f", {{\n{listed}}}" if options else ""
    end = "console.log(await response.text());"
    if call.file is not None:
        end = (
            'const { writeFile } = await import("node:fs/promises");\n'
            f'await writeFile("{call.file}", Buffer.from(await response.arrayBuffer()));'
        )
    elif call.method == "HEAD":
        end = "console.log(response.headers);"
    return (
        f"const response = await fetch(`${{process.env.{_URL}}}{call.path}`{second});\n"
        f"if (!response.ok) throw new Error(await response.text());\n{end}"
    )


def _indent(text: str, width: int = 4) -> str:
    """Return a text whose lines after the first are indented."""
    return text.replace("\n", "\n" + " " * width)
