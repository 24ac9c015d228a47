"""File descriptors: the usual soft limit of 1024 is far below what the system allows."""

from __future__ import annotations

import logging
import resource

log = logging.getLogger(__name__)

#: Share of the descriptors that connections of clients may use. The others are for the database, object
#: storage, instances, webhooks and downloads.
CLIENT_SHARE = 0.5


def raise_descriptor_limit(wanted: int) -> int:
    """Raise the soft limit on open files to `wanted`, as far as the hard limit allows; return the limit.

    A higher limit stays. Child processes inherit it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if allowed > soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        except (OSError, ValueError) as error:
            log.warning("cannot raise the limit on open files from %d to %d: %s", soft, allowed, error)
            return soft
    return max(allowed, soft)


def max_client_connections(wanted: int) -> int:
    """Return `wanted`, or as many connections as the descriptors of this process leave for clients."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    possible = max(1, int(soft * CLIENT_SHARE))
    if possible < wanted:
        log.warning(
            "at most %d connections of clients instead of %d, because the limit on open files is %d;"
            " raise it with `ulimit -n` or LimitNOFILE",
            possible,
            wanted,
            soft,
        )
    return min(wanted, possible)
