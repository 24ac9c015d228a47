"""The URL of a PostgreSQL database, and what of it may be shown."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

SCHEMES = ("postgresql", "postgres")


def is_postgres_url(url: str) -> bool:
    """Whether a URL names a PostgreSQL database."""
    return url.partition("://")[0] in SCHEMES and "://" in url


def describe_database(url: str) -> str:
    """Return host, port and name of the database of a URL; nothing of its user, password or options."""
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
