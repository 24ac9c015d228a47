"""Which addresses callers may send us to."""

from __future__ import annotations

import pytest

from orchestrator.net.egress import is_http_url, is_public_address

PRIVATE = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",  # carrier-grade NAT
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",  # the metadata service of most clouds
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.7",
    "224.0.0.1",  # multicast
    "239.1.2.3",
    "240.0.0.1",  # reserved
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",  # IPv4-compatible
    "::ffff:10.0.0.1",  # IPv4-mapped
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",  # NAT64 of 127.0.0.1
    "64:ff9b::a9fe:a9fe",  # NAT64 of 169.254.169.254
    "64:ff9b:1::8.8.8.8",  # NAT64 inside of somebody's network
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",  # 6to4 of 127.0.0.1
    "2002:a00:1::1",  # 6to4 of 10.0.0.1
    "2001:0:4136:e378:8000:63bf:f5ff:fffe",  # Teredo of 10.0.0.1
    "192.0.0.8",  # the dummy address
    "192.0.0.9",  # anycast of a protocol, no web server
    "192.88.99.1",  # relays of 6to4
    "fc00::1",
    "fd00:ec2::254",  # a cloud's metadata service
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "4000::1",  # given to nobody
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808", "2002:808:808::1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_not_public(address: str) -> None:
    assert not is_public_address(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are(address: str) -> None:
    assert is_public_address(address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.org",
        "//example.org/a.png",
        "ftp://example.org/a.png",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_INFO",
        "http://",
        "http:///a.png",
        "http://user@example.org/a.png",
        "http://user:secret@example.org/a.png",
        "http://example.org:port/a.png",
        "http://[::1",
    ],
)
def test_rejects_urls_that_are_not_http(text: str) -> None:
    assert not is_http_url(text)


@pytest.mark.parametrize(
    "text", ["http://example.org", "https://example.org:8443/a.png?b=c#d", "http://[::1]/"]
)
def test_accepts_http_urls(text: str) -> None:
    assert is_http_url(text)
