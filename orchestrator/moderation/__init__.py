"""Moderate prompts: policies that check the texts of a request before it is charged.

Without configuration nothing is blocked. The operator may configure a word list, a moderation endpoint, or
both.
"""

from __future__ import annotations

from orchestrator.moderation.endpoint import ModerationEndpoint, ModerationEndpointConfig
from orchestrator.moderation.policy import Moderation, ModerationPolicy, PolicyViolation
from orchestrator.moderation.word_lists import WordListError, WordListPolicy

__all__ = [
    "Moderation",
    "ModerationEndpoint",
    "ModerationEndpointConfig",
    "ModerationPolicy",
    "PolicyViolation",
    "WordListError",
    "WordListPolicy",
]
