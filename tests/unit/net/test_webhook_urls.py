"""Which webhook URLs are accepted: names are looked up, and private and unknown ones get the same answer."""

from __future__ import annotations

import asyncio
import socket
import threading

from aiohttp.abc import AbstractResolver, ResolveResult

from orchestrator.net.resolver import LookupPoolResolver
from orchestrator.net.webhook_urls import MAX_LOOKUPS_PER_ACCOUNT, WebhookUrlChecker, describe_rejected_url

NO_SUCH_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
TRY_AGAIN = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


class NameServer(AbstractResolver):
    """Knows some names; other names do not exist."""

    def __init__(self, **addresses: str | Exception) -> None:
        self._addresses = addresses
        self.lookups = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.lookups += 1
        known = self._addresses.get(host.partition(".")[0], NO_SUCH_NAME)
        if isinstance(known, Exception):
            raise known
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in known.split()
        ]

    async def close(self) -> None:
        pass


class SilentNameServer(NameServer):
    """Never responds."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.lookups += 1
        await asyncio.Event().wait()
        return []


async def allowed(checker: WebhookUrlChecker, name: str) -> bool:
    return await checker.is_allowed(f"https://{name}.example/hook", "A")


async def test_rejects_names_whose_addresses_are_all_private() -> None:
    names = NameServer(
        loopback="127.0.0.1",
        metadata="169.254.169.254",
        mapped="::ffff:10.0.0.1",
        nat64="64:ff9b::7f00:1",
        several="10.0.0.1 fd00::1",
        mixed="10.0.0.1 93.184.215.14",
        public="93.184.215.14",
    )
    checker = WebhookUrlChecker(allow_private=False, resolver=names)
    verdicts = {name: await allowed(checker, name) for name in names._addresses}
    assert {name for name, verdict in verdicts.items() if verdict} == {"mixed", "public"}


async def test_rejects_unknown_names_like_private_ones_once_the_name_server_knows_a_public_one() -> None:
    """A name server without access to the Internet knows no public name; then nothing can be known."""
    checker = WebhookUrlChecker(
        allow_private=False, resolver=NameServer(public="93.184.215.14", inside="10.0.0.1")
    )
    assert await allowed(checker, "nowhere")
    assert await allowed(checker, "public")
    assert not await allowed(checker, "nowhere")
    assert not await allowed(checker, "inside")


async def test_accepts_a_name_while_the_name_server_is_out_of_order() -> None:
    checker = WebhookUrlChecker(
        allow_private=False, resolver=NameServer(public="93.184.215.14", later=TRY_AGAIN)
    )
    assert await allowed(checker, "public")
    assert await allowed(checker, "later")


async def test_private_hosts_are_not_looked_up_and_pass_only_where_they_are_allowed() -> None:
    names = NameServer()
    urls = (
        "http://127.1/",
        "http://vm:8131/",
        "http://0x7f000001:80/",
        "http://[::1]/",
        "http://db.internal/",
    )
    for url in urls:
        assert not await WebhookUrlChecker(allow_private=False, resolver=names).is_allowed(url, "A")
        assert await WebhookUrlChecker(allow_private=True, resolver=names).is_allowed(url, "A")
    assert names.lookups == 0


async def test_rejects_what_is_no_url_and_what_is_too_long() -> None:
    checker = WebhookUrlChecker(allow_private=True, resolver=NameServer())
    for url in (
        "",
        "example.com",
        "ftp://example.com/",
        f"http://a.example/{'x' * 2000}",
        "http://a.example/\ud800",
    ):
        assert not await checker.is_allowed(url, "A")


async def test_lookups_of_one_account_do_not_take_those_of_another() -> None:
    names = SilentNameServer()
    checker = WebhookUrlChecker(allow_private=False, resolver=names)
    checks = [asyncio.create_task(allowed(checker, f"name{number}")) for number in range(40)]
    await asyncio.sleep(0)
    other = asyncio.create_task(checker.is_allowed("https://other.example/", "B"))
    await asyncio.sleep(0)
    assert names.lookups == MAX_LOOKUPS_PER_ACCOUNT + 1
    assert all(await asyncio.gather(*checks, other)), "without an answer nothing can be known"


async def test_names_are_resolved_in_threads_of_their_own() -> None:
    (found, *_) = await LookupPoolResolver().resolve("127.0.0.1", 80)
    assert (found["host"], found["port"], found["family"]) == ("127.0.0.1", 80, socket.AF_INET)
    assert any(thread.name.startswith("dns") for thread in threading.enumerate())


def test_a_rejected_url_is_shown_without_its_secrets() -> None:
    for url, shown in (
        ("ftp://example.com/hook", "'ftp://example.com/hook'"),
        ("somewhere", "'somewhere'"),
        ("http://ann:secret@10.0.0.1/hook?token=secret#x", "'http://***@10.0.0.1/hook?...'"),
        (f"https://example.com/{'x' * 2000}", f"'https://example.com/{'x' * 80}...'"),
    ):
        assert describe_rejected_url(url).endswith(f"2000 characters (got {shown})"), url
