"""The port: a policy looks at some texts, and the moderation refuses what any policy objects to."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.errors import ContentBlocked

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyViolation:
    """What a policy objects to."""

    #: The parameter at fault.
    param: str
    #: For the operator's log: the rule in a few words, never the prompt.
    rule: str


class ModerationPolicy(Protocol):
    """One opinion on what may be asked for."""

    async def check(self, account_id: str, texts: Mapping[str, str]) -> PolicyViolation | None:
        """The first objection to an account's texts, by parameter; None where there is none.

        Raises ServiceUnavailable where it can not tell and nothing may pass untold.
        """
        ...


@dataclass(frozen=True, slots=True)
class Moderation:
    """All policies, asked one after the other: the cheap ones come first."""

    policies: Sequence[ModerationPolicy] = ()

    async def check(self, account_id: str, texts: Mapping[str, str]) -> None:
        """Raises ContentBlocked, ServiceUnavailable."""
        given = {param: text for param, text in texts.items() if text.strip()}
        for policy in self.policies if given else ():
            finding = await policy.check(account_id, given)
            if finding is not None:
                log.info(
                    "a request of %s is refused: `%s` meets %s",
                    account_id,
                    finding.param,
                    finding.rule,
                    extra={"action": "request_blocked", "account_id": account_id, "rule": finding.rule},
                )
                raise ContentBlocked("The request was refused by the content policy", param=finding.param)
