"""A policy that asks a moderation service: OpenAI's own, or any that speaks like it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp
from pydantic import BaseModel, Field, ValidationError

from orchestrator.errors import Unavailable
from orchestrator.moderation.policy import Finding

log = logging.getLogger(__name__)

#: Bytes of an answer: a text takes about two thousand.
MAX_ANSWER = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointAccess:
    """Where the service is, and what to do without it."""

    #: What comes before `/v1/moderations`.
    url: str
    key: str | None = field(default=None, repr=False)
    #: None: the service chooses.
    model: str | None = None
    #: How long it may take to answer, in seconds.
    seconds: float = 5.0
    #: Whether requests pass while it is away. Else they are told to come again.
    fail_open: bool = False

    @property
    def address(self) -> str:
        return f"{self.url.rstrip('/').removesuffix('/v1')}/v1/moderations"


class _Result(BaseModel):
    flagged: bool
    categories: dict[str, bool | None] = Field(default_factory=dict)

    @property
    def rule(self) -> str:
        named = sorted(name for name, found in self.categories.items() if found)
        return f"the moderation service ({', '.join(named) or 'no category'})"


class _Answer(BaseModel):
    results: list[_Result]


class ModerationEndpoint:
    """`POST {url}/v1/moderations`, until it is closed."""

    def __init__(self, access: EndpointAccess) -> None:
        self._access = access

    async def __aenter__(self) -> Self:
        headers = {"Authorization": f"Bearer {self._access.key}"} if self._access.key else {}
        self._session = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self._access.seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def check(self, account_id: str, texts: Mapping[str, str]) -> Finding | None:
        try:
            results = await self._ask(list(texts.values()))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            log.warning(
                "the moderation service does not answer (%s): requests %s",
                type(error).__name__,
                "pass" if self._access.fail_open else "are refused",
                extra={"action": "moderation_unavailable"},
            )
            if self._access.fail_open:
                return None
            raise Unavailable(
                "Requests can not be checked now", code="moderation_unavailable", retry_after=5
            ) from error
        for param, result in zip(texts, results, strict=True):
            if result.flagged:
                return Finding(param=param, rule=result.rule)
        return None

    async def _ask(self, texts: list[str]) -> list[_Result]:
        """A result for each text. Raises ClientError, OSError, TimeoutError, ValueError."""
        body: dict[str, Any] = {"input": texts}
        if self._access.model:
            body["model"] = self._access.model
        # A redirect would take the key and the prompts somewhere else.
        async with self._session.post(self._access.address, json=body, allow_redirects=False) as response:
            if response.status != 200:
                raise ValueError(f"status {response.status}")
            raw = await response.content.read(MAX_ANSWER)
            while not response.content.at_eof() and len(raw) < MAX_ANSWER:
                raw += await response.content.read(MAX_ANSWER - len(raw))
        results = _parsed(raw)
        if len(results) != len(texts):
            raise ValueError(f"{len(results)} result(s) for {len(texts)} text(s)")
        return results


def _parsed(raw: bytes) -> list[_Result]:
    try:
        return _Answer.model_validate_json(raw).results
    except ValidationError as error:
        # Its words quote the answer, which may quote the prompt.
        raise ValueError("not a moderation answer") from error
