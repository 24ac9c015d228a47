"""Sign and read C2PA manifests ("Content Credentials") with `c2pa-python`, which the extra `c2pa` installs.

The library is imported where a certificate is configured or a file is verified, and at no other time.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.media.marks.source_marks import SourceType
from orchestrator.version import installed_version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

log = logging.getLogger(__name__)

GENERATOR = "Pixel Factory"
#: Types of media that the library signs. WebM, Matroska and Ogg have no place for a manifest.
SIGNED_TYPES = frozenset(
    {
        "image/png",
        "image/jpeg",
        "image/webp",
        "image/gif",
        "video/mp4",
        "video/quicktime",
        "audio/mp4",
        "audio/mpeg",
        "audio/wav",
        "audio/flac",
    }
)
_PROMPT = "pixelfactory.prompt"
#: Of a medium that a model was given to make another one: the result is no edited copy of it (`parentOf`).
_INPUT = "inputTo"
INSTALL_HINT = "the Python package c2pa-python is not installed: pip install 'pixel-factory[c2pa]'"


class CredentialsError(Exception):
    """The library is missing, or it cannot sign or read."""


@dataclass(frozen=True, slots=True)
class MediaInput:
    """A file that a caller gave to a model."""

    #: Of its parameter, never the caller's name of the file.
    name: str
    content_type: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaOrigin:
    """What a manifest says about a medium."""

    model: str
    #: Version of the model; empty if it is not known.
    version: str = ""
    #: Only written if the operator wants it.
    prompt: str | None = field(default=None, repr=False)
    source: SourceType = SourceType.GENERATED
    inputs: Sequence[MediaInput] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """What the manifest of a file says."""

    #: `trusted`: signed by a known authority; `valid`: unchanged since it was signed, by whomever; `invalid`.
    state: str
    #: What is wrong, as the codes of the C2PA specification.
    problems: Sequence[str]
    issuer: str | None
    #: Time of the signature, if a time stamp authority has confirmed it.
    signed_at: str | None
    generator: str | None
    title: str | None
    source: str | None
    model: str | None
    model_version: str | None
    created_at: str | None
    prompt: str | None
    #: Names of the media that it was made from.
    inputs: Sequence[str]


class CredentialSigner:
    """Signs media with the operator's certificate."""

    def __init__(
        self,
        certificates: bytes,
        key: bytes,
        algorithm: str,
        timestamp_url: str | None = None,
        *,
        expires_at: datetime | None = None,
    ) -> None:
        """`certificates` is the chain in PEM, beginning with the signer's. Raises CredentialsError."""
        #: When the signer's certificate ends, if that is known.
        self.expires_at = expires_at
        self._c2pa = _load_library()
        self._settings = {
            "builder": {"thumbnail": {"enabled": False}},
            "verify": {"verify_after_sign": False},
        }
        self._timestamp_url = timestamp_url

        def make_signer(url: str | None) -> Any:
            info = self._c2pa.C2paSignerInfo(
                alg=algorithm.encode(),
                sign_cert=certificates,
                private_key=key,
                ta_url=url.encode() if url else None,
            )
            return self._c2pa.Signer.from_info(info)

        with _errors(self._c2pa, "the certificate or key cannot be used"):
            self._signer = make_signer(None)
            self._stamping_signer = make_signer(timestamp_url) if timestamp_url else None

    def sign(self, data: bytes, content_type: str, origin: MediaOrigin, now: datetime) -> bytes:
        """Return the media with a manifest, in the place of any that it had.

        CPU-bound, and asks the time stamp authority if there is one: call it in a worker thread. Without a
        response of the authority, the signature has no confirmed time. Raises CredentialsError.
        """
        manifest = _to_manifest(origin, now)
        if self._stamping_signer is not None:
            try:
                return self._sign(self._stamping_signer, data, content_type, manifest)
            except CredentialsError as error:
                log.warning(
                    "a result is signed without a time stamp: %s; check c2pa_timestamp_url, %s",
                    error,
                    self._timestamp_url,
                )
        return self._sign(self._signer, data, content_type, manifest)

    def _sign(self, signer: Any, data: bytes, content_type: str, manifest: str) -> bytes:
        signed = io.BytesIO()
        with _errors(self._c2pa, f"the {content_type} cannot be signed"):
            context = self._c2pa.Context(settings=self._c2pa.Settings.from_dict(self._settings))
            with context, self._c2pa.Builder(manifest, context=context) as builder:
                builder.sign(signer, content_type, io.BytesIO(data), signed)
        return signed.getvalue()


def _to_manifest(origin: MediaOrigin, now: datetime) -> str:
    agent = {"name": origin.model} | ({"version": origin.version} if origin.version else {})
    action: dict[str, Any] = {
        "action": "c2pa.created",
        "when": now.isoformat(timespec="seconds"),
        "softwareAgent": agent,
        "digitalSourceType": str(origin.source),
    }
    ingredients = [
        {"label": f"input-{number}", "title": one.name, "relationship": _INPUT}
        | ({"format": one.content_type} if one.content_type else {})
        for number, one in enumerate(origin.inputs, 1)
    ]
    parameters: dict[str, Any] = {} if origin.prompt is None else {_PROMPT: origin.prompt}
    if ingredients:
        parameters["ingredientIds"] = [row["label"] for row in ingredients]
    if parameters:
        action["parameters"] = parameters
    return json.dumps(
        {
            "claim_generator_info": [{"name": GENERATOR, "version": installed_version()}],
            "ingredients": ingredients,
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
        }
    )


def read_credentials(data: bytes, content_type: str, anchors: bytes | None = None) -> Credentials | None:
    """Return what the manifest of a file says; None without one.

    `anchors` are certificates in PEM of authorities to trust. Nothing is fetched from the network. Raises
    CredentialsError for a type that holds no manifests, and without the library.
    """
    c2pa = _load_library()
    settings: dict[str, Any] = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
    if anchors is not None:
        settings["trust"] = {"user_anchors": anchors.decode("ascii", "replace")}
    with _errors(c2pa, f"the {content_type} cannot be read"):
        try:
            context = c2pa.Context(settings=c2pa.Settings.from_dict(settings))
            with context, c2pa.Reader(content_type, io.BytesIO(data), context=context) as reader:
                return _to_credentials(json.loads(reader.json()), reader.get_validation_state())
        except c2pa.C2paError.ManifestNotFound:
            return None


def _to_credentials(store: Mapping[str, Any], state: object) -> Credentials:
    manifest: Mapping[str, Any] = store.get("manifests", {}).get(store.get("active_manifest"), {})
    signature = manifest.get("signature_info") or {}
    (generator, *_) = manifest.get("claim_generator_info") or [{}]
    actions = [
        action
        for assertion in manifest.get("assertions", ())
        if str(assertion.get("label")).startswith("c2pa.actions")
        for action in assertion["data"].get("actions", ())
    ]
    created: Mapping[str, Any] = next((action for action in actions if "digitalSourceType" in action), {})
    agent = created.get("softwareAgent")
    agent = agent if isinstance(agent, Mapping) else {"name": agent}
    return Credentials(
        state=str(state or "invalid").lower(),
        problems=sorted({str(row.get("code")) for row in store.get("validation_status") or ()}),
        issuer=signature.get("issuer"),
        signed_at=signature.get("time"),
        generator=" ".join(str(generator[name]) for name in ("name", "version") if name in generator) or None,
        title=manifest.get("title"),
        source=created.get("digitalSourceType"),
        model=agent.get("name"),
        model_version=agent.get("version"),
        created_at=created.get("when"),
        prompt=(created.get("parameters") or {}).get(_PROMPT),
        inputs=[str(row.get("title") or "untitled") for row in manifest.get("ingredients", ())],
    )


def _load_library() -> ModuleType:
    try:
        return import_module("c2pa")
    except ImportError as error:
        raise CredentialsError(INSTALL_HINT) from error


@contextmanager
def _errors(c2pa: ModuleType, what: str) -> Iterator[None]:
    try:
        yield
    except (c2pa.C2paError, ValueError, OSError) as error:
        raise CredentialsError(f"{what}: {error}") from error


def read_pem(path: Path, what: str) -> bytes:
    """Return a PEM file. Raises CredentialsError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CredentialsError(f"{what} {path} cannot be read: {error.strerror or error}") from error
    if b"-----BEGIN " not in data:
        raise CredentialsError(f"{what} {path} is not in PEM format: it must begin with -----BEGIN")
    return data
