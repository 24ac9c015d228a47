"""What the host of a URL means, in every spelling that resolvers and browsers understand."""

from __future__ import annotations

import pytest

from orchestrator.net.egress import is_public_address
from orchestrator.net.hosts import InvalidHost, is_public_host, parse_host
from orchestrator.net.http_urls import HostNotPublic, InvalidHttpUrl, parse_http_url, url_receiver

LOOPBACK = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "0x7f000001",
    "0X7F.1",
    "2130706433",
    "017700000001",
    "0177.0.0.01",
    "127.0x0.0.1",
    "127.0.0.1.",
    "\u2460\u2461\u2466.0.0.1",
    "\uff11\uff12\uff17.\uff10.\uff10.\uff11",
    "127\u30020\uff0e0\uff611",
    "127%2e0%2E0.1",
    "%31%32%37.0.0.1",
    "127.0.0.1\u200b",
    "\u00ad127.1",
]
PRIVATE = [
    *LOOPBACK,
    "0",
    "0x",
    "0.0.0.0",
    "10.1",
    "0xa9fea9fe",
    "0251.254.169.254",
    "192.168.257",
    "hooks.test",
    "a.onion.",
    "a.alt",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:a00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::10.0.0.1]",
    "[2002:7f00:1::]",
    "[2001:470:1::5efe:10.0.0.1]",
    "[2001:470:1::200:5efe:7f00:1]",
    "[fe80::1%25eth0]",
    "[\uff1a:1]",
    "localhost",
    "LOCALHOST.",
    "\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3",
    "api.localhost",
    "localhost.localdomain",
    "printer.local",
    "metadata.google.internal",
    "router.home.arpa",
    "no-such-name.invalid",
    "vm",
    "db.corp",
]
PUBLIC = ["1.1.1.1", "8.8.8.8.", "134744072", "0x08080808", "\u2460.1", "[2606:4700::1111]", "example.com"]
INVALID = [
    "",
    ".",
    "256.1.1.1",
    "1.2.3.4.5",
    "09.1.1.1",
    "1.16777216",
    "4294967296",
    "1..1",
    "example..com",
    "exa mple.com",
    "127.0.0.1\0.example.com",
    "example.com;127.0.0.1",
    "[::1::]",
    "[::ffff:127.0.0.1.]",
    f"{'a' * 64}.com",
    "a." * 130 + "com",
]


@pytest.mark.parametrize("host", LOOPBACK)
def test_reads_every_spelling_of_the_loopback_address(host: str) -> None:
    assert str(parse_host(host)) == "127.0.0.1"


@pytest.mark.parametrize("host", PRIVATE)
def test_private_hosts_are_not_public_in_any_spelling(host: str) -> None:
    assert not is_public_host(host, is_public_address)


@pytest.mark.parametrize("host", PUBLIC)
def test_public_hosts_are_public_in_any_spelling(host: str) -> None:
    assert is_public_host(host, is_public_address)


@pytest.mark.parametrize("host", INVALID)
def test_rejects_what_is_neither_an_address_nor_a_name(host: str) -> None:
    with pytest.raises(InvalidHost):
        parse_host(host)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("Example.COM.", "example.com"),
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("my_service.example", "my_service.example"),
        ("1password.com", "1password.com"),
        ("0x7f.example.com", "0x7f.example.com"),
    ],
)
def test_reads_names_in_lower_case_ascii(host: str, name: str) -> None:
    assert parse_host(host) == name


@pytest.mark.parametrize("host", PRIVATE)
def test_rejects_urls_of_private_hosts_in_any_spelling(host: str) -> None:
    with pytest.raises(InvalidHttpUrl):
        parse_http_url(f"https://{host}:8443/hook", is_public_address)


@pytest.mark.parametrize(
    "url",
    [
        "http://1.1.1.1@127.0.0.1/",
        "http://@127.0.0.1/",
        "http://:@1.1.1.1/",
        "http://127.0.0.1\\@1.1.1.1/",
        "http://1.1.1.1\\.example.com/",
        "http://127.0.0.1#@1.1.1.1/",
        "http://127.0.0.1?@1.1.1.1/",
        "http://127.0.0.1;1.1.1.1/",
        "http://1.1.1.1:80:80/",
        "http://1.1.1.1\t/",
        "http:///127.0.0.1/",
        "http:127.0.0.1",
        "//1.1.1.1/",
    ],
)
def test_rejects_urls_whose_host_is_ambiguous(url: str) -> None:
    with pytest.raises(InvalidHttpUrl):
        parse_http_url(url, is_public_address)


def test_private_and_invalid_hosts_get_one_answer() -> None:
    messages = set()
    for host in ("10.0.0.1", "localhost", "0x7f.1", "256.1.1.1", "vm", "db.internal"):
        with pytest.raises(HostNotPublic) as caught:
            parse_http_url(f"http://{host}/", is_public_address)
        messages.add(str(caught.value))
    assert messages == {"it does not lead to a public server"}


def test_accepts_any_host_where_private_ones_are_allowed() -> None:
    for host in ("localhost", "127.1", "[::1]", "minio"):
        assert parse_http_url(f"http://{host}:9000/a%2Fb").path == "/a/b"


def test_one_receiver_has_one_name() -> None:
    urls = (
        "http://127.0.0.1/a",
        "http://127.1:80/b?c",
        "HTTP://0x7f000001./",
        "http://\u2460\u2461\u2466.1/",
    )
    assert {url_receiver(url) for url in urls} == {"127.0.0.1:80"}
    assert url_receiver("https://Example.com/") == "example.com:443"
    assert url_receiver("not a url") == "not a url"
