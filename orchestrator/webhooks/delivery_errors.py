"""Describe failed deliveries to the account, without anything about the network that they were sent from."""

from __future__ import annotations

import aiohttp

#: The same for private, unknown and unreachable hosts, so that callers cannot explore a network.
UNREACHABLE = (
    "The receiver could not be reached: its URL must lead to a public server that accepts connections"
)
TIMED_OUT = "The receiver did not respond in time"
INVALID_CERTIFICATE = "The receiver's TLS certificate is not valid for its URL"
INVALID_RESPONSE = "The receiver closed the connection or sent an invalid HTTP response"


def describe_delivery_error(error: Exception) -> str:
    """Return the text of a failed request that callers see; the error itself is for the operator's log."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return INVALID_CERTIFICATE
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.InvalidURL | aiohttp.ConnectionTimeoutError):
        return UNREACHABLE
    if isinstance(error, TimeoutError):
        return TIMED_OUT
    if isinstance(error, aiohttp.ClientError):
        return INVALID_RESPONSE
    return UNREACHABLE
