"""`pixelfactory provenance`: what marks and manifests of media say, and certificates for development."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.app.resources import utc_now
from orchestrator.cli.terminal.console import CliError, JsonOption, print_json, print_lines
from orchestrator.files.private_files import write_private
from orchestrator.logs import printable
from orchestrator.media.errors import CorruptMedia
from orchestrator.media.formats import probe_media
from orchestrator.media.marks.content_credentials import (
    SIGNED_TYPES,
    Credentials,
    CredentialsError,
    read_credentials,
    read_pem,
)
from orchestrator.media.marks.signing_certificates import make_development_certificate
from orchestrator.media.marks.source_marks import read_source

app = typer.Typer(no_args_is_help=True, help="Marks and signed manifests of generated media.")

FileArgument = Annotated[Path, typer.Argument(help="An image, video or sound.")]
TrustOption = Annotated[
    Path | None,
    typer.Option(help="PEM file of authorities to trust, such as that of a development certificate."),
]
DirectoryOption = Annotated[Path, typer.Option("--out", help="Directory to write to.")]
OrganizationOption = Annotated[str, typer.Option(help="Who signs, as viewers show it.")]


@app.command()
def verify(file: FileArgument, trust: TrustOption = None, json: JsonOption = False) -> None:
    """Say what a file's mark and manifest are, and whether it was changed since it was signed.

    Exit code 1 for a broken manifest, for neither mark nor manifest, and with `--trust` for a signer whom
    none of the authorities has certified. Nothing is fetched from the network.
    """
    data = _read(file)
    try:
        content_type = probe_media(data).content_type
        source = read_source(data, content_type)
    except CorruptMedia as error:
        raise CliError(f"{file}: {error}") from error
    credentials = _read_credentials(data, content_type, trust)
    row = _to_row(content_type, source, credentials)
    if json:
        print_json(row)
    else:
        print_lines("\n".join(_to_lines(row)))
    if not _is_fine(source, credentials, must_trust=trust is not None):
        raise typer.Exit(1)


def _is_fine(source: str | None, credentials: Credentials | None, *, must_trust: bool) -> bool:
    if credentials is None:
        return source is not None and not must_trust
    return credentials.state == "trusted" or (credentials.state == "valid" and not must_trust)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CliError(f"{file} cannot be read: {error.strerror or error}") from error


def _read_credentials(data: bytes, content_type: str, trust: Path | None) -> Credentials | None:
    if content_type not in SIGNED_TYPES:
        return None
    try:
        anchors = None if trust is None else read_pem(trust, "the file of authorities")
        return read_credentials(data, content_type, anchors)
    except CredentialsError as error:
        raise CliError(str(error)) from error


def _to_row(content_type: str, source: str | None, credentials: Credentials | None) -> dict[str, Any]:
    row: dict[str, Any] = {"content_type": content_type, "digital_source_type": source}
    row["manifest"] = "none" if credentials is None else credentials.state
    if credentials is not None:
        row |= {
            "problems": list(credentials.problems),
            "signer": credentials.issuer,
            "signed_at": credentials.signed_at,
            "generator": credentials.generator,
            "model": credentials.model,
            "model_version": credentials.model_version,
            "created_at": credentials.created_at,
            "manifest_source_type": credentials.source,
            "prompt": credentials.prompt,
            "inputs": list(credentials.inputs),
        }
    return row


def _to_lines(row: dict[str, Any]) -> list[str]:
    """Return a line for each value that there is."""
    width = max(len(name) for name in row) + 2
    shown = {name: ", ".join(value) if isinstance(value, list) else value for name, value in row.items()}
    return [
        f"{name.replace('_', ' '):{width}}{printable(str(value))}" for name, value in shown.items() if value
    ]


@app.command("make-certificate")
def make_certificate(out: DirectoryOption = Path(), organization: OrganizationOption = "Development") -> None:
    """Make a certificate for development, with its key, and its authority for `verify --trust`.

    Other programs show its signatures as those of an unknown signer. For results that leave your network, use
    a certificate of an authority on C2PA's trust list.
    """
    made = make_development_certificate(organization, utc_now())
    files = {"certificate.pem": made.chain, "key.pem": made.key, "authority.pem": made.authority}
    existing = [name for name in files if (out / name).exists()]
    if existing:
        raise CliError(f"{out / existing[0]} exists already; name another directory with --out")
    out.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        write_private(out / name, data.decode())
        typer.echo(out / name)
