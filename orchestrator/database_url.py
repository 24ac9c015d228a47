"""URLs of databases, and what of them may be shown."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

POSTGRES_SCHEMES = ("postgresql", "postgres")
#: What a URL of a database looks like, for error messages.
URL_FORMS = "sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/NAME"


def is_postgres_url(url: str) -> bool:
    """Whether a URL names a PostgreSQL database."""
    scheme, separator, _ = url.partition("://")
    return bool(separator) and scheme in POSTGRES_SCHEMES


def sqlite_path(url: str) -> Path | None:
    """Return the file of an SQLite database; None for other URLs."""
    scheme, separator, path = url.partition(":///")
    return Path(path) if scheme == "sqlite" and separator and path else None


def check_database_url(url: str) -> None:
    """Raise ValueError, without the URL, for one that names no database."""
    if not is_postgres_url(url) and sqlite_path(url) is None:
        scheme = url.partition(":")[0] if "://" in url else "unknown"
        raise ValueError(f"must be {URL_FORMS} (got a {scheme!r} URL)")


def describe_database(url: str) -> str:
    """Return scheme, hosts, port and name of the database of a URL; not its user, password or options."""
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2] or dict(parse_qsl(parts.query)).get("host", "")
    return f"postgresql://{unquote(hosts)}/{unquote(parts.path.lstrip('/'))}"


def find_passwords(url: str) -> list[str]:
    """Return the passwords of a URL, as they are written and as they are sent."""
    parts = urlsplit(url)
    _, colon, written = parts.netloc.rpartition("@")[0].partition(":")
    found = [written, unquote(written)] if colon else []
    found += [value for name, value in parse_qsl(parts.query) if name in ("password", "sslpassword")]
    return [password for password in dict.fromkeys(found) if password]
