"""The moderation interface: policies check texts, and a request is blocked if one finds a violation."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.errors import ContentBlocked
from orchestrator.fair_slots import FairSlots

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyViolation:
    """A text that violates a policy."""

    #: The parameter with the text.
    param: str
    #: The violated rule, for the operator's log; never the prompt.
    rule: str


class ModerationPolicy(Protocol):
    """Checks texts against one set of rules."""

    async def check(self, account_id: str, texts: Mapping[str, str]) -> PolicyViolation | None:
        """Return the first violation in an account's texts (by parameter), or None.

        Raises ServiceUnavailable if the texts cannot be checked and must not pass unchecked.
        """
        ...


def _check_slots() -> FairSlots:
    return FairSlots("prompts to check", 64, per_account=4, max_waiting=1024)


@dataclass(frozen=True, slots=True)
class Moderation:
    """All policies, checked in order: cheap ones come first."""

    policies: list[ModerationPolicy] = field(default_factory=list)
    #: A moderation service or a pattern may be slow; the requests of one account must not delay the others'.
    _slots: FairSlots = field(default_factory=_check_slots)

    def replace_policy(self, policy: ModerationPolicy) -> None:
        """Use a policy instead of those of its kind, whose rules have changed."""
        others = [other for other in self.policies if type(other) is not type(policy)]
        self.policies[:] = [policy, *others]

    async def check(self, account_id: str, texts: Mapping[str, str]) -> None:
        """Check the texts with every policy. Raises ContentBlocked, RateLimited, ServiceUnavailable."""
        async with self._slots.slot(account_id):
            await self._check(account_id, texts)

    async def _check(self, account_id: str, texts: Mapping[str, str]) -> None:
        given = {param: text for param, text in texts.items() if text.strip()}
        for policy in self.policies if given else ():
            violation = await policy.check(account_id, given)
            if violation is not None:
                log.info(
                    "blocked a request of %s: `%s` violates %s",
                    account_id,
                    violation.param,
                    violation.rule,
                    extra={"action": "request_blocked", "account_id": account_id, "rule": violation.rule},
                )
                raise ContentBlocked(
                    f"`{violation.param}` was rejected by the content policy", param=violation.param
                )
