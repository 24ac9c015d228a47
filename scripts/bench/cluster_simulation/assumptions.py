"""What was not measured here. Each is an order of magnitude, to replace by your own numbers."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True, slots=True)
class Assumptions:
    """Capacities of parts that this machine does not have. Rates are per second."""

    #: Writing transactions of one PostgreSQL primary with a dozen cores that flushes to NVMe disks: thousands
    #: are usual.
    postgres_transactions: float = 5_000.0
    #: Seconds of one flush to disk: below a millisecond on local NVMe, some milliseconds on a network disk.
    #: All captures add to one row, which is locked until the commit.
    postgres_flush: float = 0.002
    #: Seconds of one round trip between the service and PostgreSQL in the same zone.
    postgres_round_trip: float = 0.0005
    #: PUT requests that one prefix of Amazon S3 takes at least, as its documentation says.
    s3_puts: float = 3_500.0
    #: Bytes of one network interface of 25 Gbit/s.
    network_bytes: float = 25e9 / 8
    #: Bytes of a PNG of one megapixel as photographic images have, and of a video of some seconds.
    image_bytes: float = 1.5e6
    video_bytes: float = 4e6
    #: Share of the jobs with a webhook.
    webhook_share: float = 0.5
    #: Times that an output is downloaded.
    downloads: float = 1.5
    #: Share of a capacity that may be used, so that waits stay short.
    headroom: float = 0.7


def describe_assumptions(assumptions: Assumptions) -> dict[str, float]:
    """Return all values by name."""
    return {field.name: getattr(assumptions, field.name) for field in fields(assumptions)}
