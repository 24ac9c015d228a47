"""A moderation policy that calls a service with OpenAI's moderation API."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp
from pydantic import BaseModel, Field, ValidationError

from orchestrator.errors import ServiceUnavailable
from orchestrator.moderation.policy import PolicyViolation

log = logging.getLogger(__name__)

#: Maximum size of a response; one text takes about two thousand bytes.
MAX_RESPONSE_BYTES = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class ModerationEndpointConfig:
    """The moderation service, and what to do if it is unavailable."""

    #: URL up to `/v1/moderations`.
    url: str
    api_key: str | None = field(default=None, repr=False)
    #: None: the default of the service.
    model: str | None = None
    timeout_seconds: float = 5.0
    #: Whether requests are allowed while the service is unavailable; else they fail with 503.
    fail_open: bool = False

    @property
    def moderations_url(self) -> str:
        return f"{self.url.rstrip('/').removesuffix('/v1')}/v1/moderations"


class _ModerationResult(BaseModel):
    flagged: bool
    categories: dict[str, bool | None] = Field(default_factory=dict)

    @property
    def rule(self) -> str:
        named = sorted(name for name, found in self.categories.items() if found)
        return f"the moderation service ({', '.join(named) or 'no category'})"


class _ModerationResponse(BaseModel):
    results: list[_ModerationResult]


class ModerationEndpoint:
    """Calls `POST {url}/v1/moderations`. Use it as a context manager."""

    def __init__(self, config: ModerationEndpointConfig) -> None:
        self._config = config

    async def __aenter__(self) -> Self:
        headers = {"Authorization": f"Bearer {self._config.api_key}"} if self._config.api_key else {}
        self._session = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self._config.timeout_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def check(self, account_id: str, texts: Mapping[str, str]) -> PolicyViolation | None:
        """Return the first text that the service flags. Raises ServiceUnavailable unless `fail_open`."""
        try:
            results = await self._request_moderation(list(texts.values()))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            log.warning(
                "the moderation service is unavailable (%s): the request is %s",
                type(error).__name__,
                "allowed" if self._config.fail_open else "rejected with 503",
                extra={"action": "moderation_unavailable"},
            )
            if self._config.fail_open:
                return None
            raise ServiceUnavailable(
                "Content moderation is unavailable; retry later", code="moderation_unavailable", retry_after=5
            ) from error
        for param, result in zip(texts, results, strict=True):
            if result.flagged:
                return PolicyViolation(param=param, rule=result.rule)
        return None

    async def _request_moderation(self, texts: list[str]) -> list[_ModerationResult]:
        """Return a result for each text. Raises ClientError, OSError, TimeoutError, ValueError."""
        body: dict[str, Any] = {"input": texts}
        if self._config.model:
            body["model"] = self._config.model
        # A redirect would send the key and the prompts to another server.
        async with self._session.post(
            self._config.moderations_url, json=body, allow_redirects=False
        ) as response:
            if response.status != 200:
                raise ValueError(f"status {response.status}")
            raw = await response.content.read(MAX_RESPONSE_BYTES)
            while not response.content.at_eof() and len(raw) < MAX_RESPONSE_BYTES:
                raw += await response.content.read(MAX_RESPONSE_BYTES - len(raw))
        results = _parse_results(raw)
        if len(results) != len(texts):
            raise ValueError(f"{len(results)} result(s) for {len(texts)} text(s)")
        return results


def _parse_results(raw: bytes) -> list[_ModerationResult]:
    try:
        return _ModerationResponse.model_validate_json(raw).results
    except ValidationError as error:
        # The message of `error` quotes the response, which may quote the prompt.
        raise ValueError("not a moderation response") from error
