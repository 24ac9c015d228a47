"""Check the installed Python packages: licences against an allow-list, versions for known vulnerabilities.

`scripts/licences.toml` is the allow-list. The vulnerabilities are those that the package index publishes for
each version (`GET /pypi/NAME/VERSION/json`, from the Open Source Vulnerabilities database). Without the index
that part is skipped, and says so.

    python -m scripts.dependency_audit              both; exit code 1 if something is wrong
    python -m scripts.dependency_audit --offline    licences only
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

ALLOW_LIST = Path(__file__).with_name("licences.toml")
DEFAULT_INDEX = "https://pypi.org"
PROJECT = "pixel-factory"
#: Licence texts longer than this are whole licences, which name nothing.
MAX_NAME_LENGTH = 60
TIMEOUT_SECONDS = 20
PARALLEL_REQUESTS = 4

_CLASSIFIER = re.compile(r"License :: (?:OSI Approved :: )?(.+)")
_TOKEN = re.compile(r"\(|\)|[A-Za-z0-9.+-]+")


class IndexUnavailable(Exception):
    """The package index cannot be asked."""


@dataclass(frozen=True, slots=True)
class Package:
    """An installed package and the licences that its metadata name, best source first."""

    name: str
    version: str
    licences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AllowList:
    """The licences that are allowed, and what packages call them."""

    allowed: frozenset[str]
    names: Mapping[str, str]
    #: Licences of packages whose metadata do not tell, by normalised name.
    packages: Mapping[str, str]

    @classmethod
    def load(cls, file: Path = ALLOW_LIST) -> AllowList:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        packages = {normalize_name(name): entry["licence"] for name, entry in table["packages"].items()}
        return cls(frozenset(table["allowed"]), table["names"], packages)

    def licence_of(self, package: Package) -> str:
        """Return the licence of a package as an SPDX expression; as it is written if that is unknown."""
        listed = self.packages.get(normalize_name(package.name))
        if listed is not None:
            return listed
        written = [self.names.get(text, text) for text in package.licences]
        return next((text for text in written if self.allows(text)), written[0] if written else "unknown")

    def allows(self, expression: str) -> bool:
        """Return whether an SPDX expression is fulfilled by allowed licences alone."""
        tokens = _TOKEN.findall(expression)
        if not tokens or "".join(tokens) != expression.replace(" ", ""):
            return False
        try:
            allowed, rest = self._parse_alternatives(tokens)
        except IndexError:
            return False
        return allowed and not rest

    def _parse_alternatives(self, tokens: list[str]) -> tuple[bool, list[str]]:
        """Evaluate `A AND B OR C`; return the result and the tokens behind it. Raises IndexError."""
        allowed, rest = self._parse_licence(tokens)
        together = allowed
        alternatives = []
        while rest and rest[0] in ("AND", "OR"):
            operator, rest = rest[0], rest[1:]
            allowed, rest = self._parse_licence(rest)
            if operator == "OR":
                alternatives.append(together)
                together = allowed
            else:
                together = together and allowed
        return any((*alternatives, together)), rest

    def _parse_licence(self, tokens: list[str]) -> tuple[bool, list[str]]:
        if tokens[0] != "(":
            return tokens[0] in self.allowed, tokens[1:]
        allowed, rest = self._parse_alternatives(tokens[1:])
        if rest[0] != ")":
            return False, rest
        return allowed, rest[1:]


def normalize_name(name: str) -> str:
    """Return a package's name as the index writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def list_packages(found: Iterable[Distribution] | None = None) -> list[Package]:
    """Return the installed packages by name, without this project."""
    packages = {}
    for each in distributions() if found is None else found:
        name = each.metadata["Name"]
        if name and normalize_name(name) != PROJECT:
            packages[normalize_name(name)] = Package(name, each.version, tuple(_iter_licences(each)))
    return [packages[name] for name in sorted(packages)]


def _iter_licences(distribution: Distribution) -> Iterator[str]:
    metadata: Any = distribution.metadata
    expression, text = metadata.get("License-Expression"), metadata.get("License")
    if expression:
        yield expression
    for classifier in metadata.get_all("Classifier") or []:
        match = _CLASSIFIER.fullmatch(classifier)
        if match and match[1] != "DFSG approved":
            yield match[1]
    if text and len(text) <= MAX_NAME_LENGTH and "\n" not in text and text != "UNKNOWN":
        yield text


def check_licences(packages: Iterable[Package], allow_list: AllowList) -> list[str]:
    """Print the licence of each package, and return the problems."""
    problems = []
    for package in packages:
        licence = allow_list.licence_of(package)
        print(f"{package.name:32} {package.version:20} {licence}")
        if not allow_list.allows(licence):
            problems.append(
                f"{package.name} {package.version}: licence {licence!r} is not in {ALLOW_LIST.name};"
                " read it and list it, or remove the package"
            )
    return problems


def find_vulnerabilities(index: str, package: Package) -> list[str] | None:
    """Return the known vulnerabilities of an installed version as lines; None if the index does not know it.

    Raises IndexUnavailable.
    """
    url = f"{index}/pypi/{quote(normalize_name(package.name))}/{quote(package.version)}/json"
    try:
        with urlopen(Request(url, headers={"Accept": "application/json"}), timeout=TIMEOUT_SECONDS) as reply:
            document = json.load(reply)
            entries = document["vulnerabilities"]
    except HTTPError as error:
        if error.code == 404:
            return None
        raise IndexUnavailable(f"{url} responds with {error.code}") from error
    except (URLError, OSError, ValueError, LookupError, TypeError) as error:
        raise IndexUnavailable(f"{url}: {error}") from error
    return [_format_vulnerability(package, entry) for entry in entries if not entry.get("withdrawn")]


def _format_vulnerability(package: Package, entry: Mapping[str, Any]) -> str:
    fixed = ", ".join(entry.get("fixed_in") or []) or "no version"
    names = " ".join([str(entry.get("id")), *(entry.get("aliases") or [])])
    summary = str(entry.get("summary") or entry.get("details") or "").partition("\n")[0][:100]
    return f"{package.name} {package.version}: {names}: {summary} (mended in {fixed})"


def check_vulnerabilities(packages: list[Package], index: str) -> list[str]:
    """Return the known vulnerabilities of all packages; print why if the index cannot be asked."""
    try:
        first = find_vulnerabilities(index, packages[0])
        if first is None:
            raise IndexUnavailable(f"{index} does not know {packages[0].name} {packages[0].version}")
        with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
            rest = list(pool.map(lambda package: find_vulnerabilities(index, package), packages[1:]))
    except IndexUnavailable as error:
        print(f"vulnerabilities: skipped, the package index cannot be asked: {error}")
        return []
    found = dict(zip((package.name for package in packages), [first, *rest], strict=True))
    problems = [line for lines in found.values() for line in lines or ()]
    print(f"vulnerabilities: {len(problems)} in {len(packages)} packages, by {index}")
    if unknown := [name for name, lines in found.items() if lines is None]:
        print(f"vulnerabilities: not checked, unknown to the index: {', '.join(unknown)}")
    return problems


def main(arguments: list[str] | None = None) -> int:
    """Run the checks; return 1 if one fails."""
    parser = argparse.ArgumentParser(description="Check licences and vulnerabilities of installed packages.")
    parser.add_argument("--offline", action="store_true", help="check licences only")
    parser.add_argument("--index", default=DEFAULT_INDEX, help="URL of the package index")
    options = parser.parse_args(arguments)
    packages = list_packages()
    problems = check_licences(packages, AllowList.load())
    if not options.offline:
        problems += check_vulnerabilities(packages, options.index.rstrip("/"))
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
