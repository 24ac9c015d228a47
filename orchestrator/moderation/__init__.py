"""What callers may ask pictures of: policies that look at the words of a request before it costs anything.

Nothing is refused unless the operator says so: with a file of words and patterns, with the address of a
moderation service, or with both.
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
