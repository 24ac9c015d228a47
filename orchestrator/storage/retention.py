"""Retention rules of a bucket: objects below a key prefix expire some days after they were written."""

from __future__ import annotations

from collections.abc import Mapping

from minio import Minio
from minio.commonconfig import ENABLED, Filter
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule

_RULE_ID_PREFIX = "pixelfactory-"


def set_retention(client: Minio, bucket: str, retention: Mapping[str, int]) -> None:
    """Replace the rules of this service by `retention` (prefix to days); the operator's own rules stay."""
    present = client.get_bucket_lifecycle(bucket)
    rules = list(present.rules) if present else []
    others = [rule for rule in rules if not (rule.rule_id or "").startswith(_RULE_ID_PREFIX)]
    ours = [_expiration_rule(prefix, days) for prefix, days in sorted(retention.items())]
    client.set_bucket_lifecycle(bucket, LifecycleConfig(others + ours))


def get_retention(client: Minio, bucket: str) -> dict[str, int]:
    """Return the days by prefix of all rules that expire objects below a prefix."""
    present = client.get_bucket_lifecycle(bucket)
    return {
        rule.rule_filter.prefix: rule.expiration.days
        for rule in (present.rules if present else [])
        if rule.rule_filter and rule.rule_filter.prefix and rule.expiration and rule.expiration.days
    }


def _expiration_rule(prefix: str, days: int) -> Rule:
    return Rule(
        ENABLED,
        rule_filter=Filter(prefix=prefix),
        rule_id=_RULE_ID_PREFIX + prefix.strip("/").replace("/", "-"),
        expiration=Expiration(days=days),
    )
