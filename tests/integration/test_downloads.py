"""Fetching by address: from real servers, over real sockets, by every way that leads astray."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from orchestrator.errors import InvalidRequest
from orchestrator.media.errors import FetchError, FileTooLarge, UrlNotAllowed, UrlUnreachable
from orchestrator.media.inputs.input_images import ImageLimits, read_image
from orchestrator.net.downloads import MAX_REDIRECTS, FetchPolicy, UrlFetcher
from orchestrator.net.egress import is_public_address
from orchestrator.net.http_urls import MAX_URL_LENGTH
from tests.support.images import bomb, png
from tests.support.web_servers import (
    Say,
    ScriptedHttpServer,
    StaticResolver,
    answer,
    endless,
    redirect,
    serving,
)

MOST = 100_000
PICTURE = png()
SECRET = b"the private server's secret"


@asynccontextmanager
async def downloads(
    *reachable: str, names: StaticResolver | None = None, seconds: float = 5.0, own: str | None = None
) -> AsyncIterator[UrlFetcher]:
    """Downloads in a world where `reachable` addresses are public too."""
    rules = FetchPolicy(timeout_seconds=seconds, own_url_prefixes=(own,) if own else ())
    made = UrlFetcher(rules, resolver=names, reachable=lambda ip: ip in reachable or is_public_address(ip))
    async with made:
        yield made


async def fetched(say: Say, path: str = "/a.png", seconds: float = 5.0) -> bytes:
    """What comes of a server that we may reach."""
    async with serving(say) as server, downloads("127.0.0.1", seconds=seconds) as fetching:
        return await fetching.fetch(server.url + path, MOST)


async def test_fetches_a_file_without_sending_headers_of_ours() -> None:
    async with serving(answer(PICTURE, "Set-Cookie: a=b")) as server, downloads("127.0.0.1") as fetching:
        for _ in range(2):
            assert await fetching.fetch(f"{server.url}/a%2Fb.png?sign=%7E%2b+x#part", MOST) == PICTURE
    for head in server.requests:
        assert head.startswith("GET /a%2Fb.png?sign=%7E%2b+x HTTP/1.1\r\n"), (
            "signatures must stay as they are"
        )
        assert "cookie" not in head.lower()
        assert "referer" not in head.lower()
        assert "authorization" not in head.lower()


async def test_a_path_in_any_language_is_fetched() -> None:
    assert await fetched(answer(PICTURE), "/Füchse.png") == PICTURE


async def test_our_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answer(b"proxied")) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert await fetched(answer(PICTURE)) == PICTURE
    assert proxy.requests == []


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "\u2460\u2461\u2466.0.0.1",
    ],
)
async def test_a_loopback_address_is_refused_in_every_spelling(host: str) -> None:
    async with serving(answer(SECRET)) as server, downloads() as fetching:
        with pytest.raises(FetchError) as caught:
            await fetching.fetch(f"http://{host}:{server.port}/", MOST)
    assert isinstance(caught.value, UrlNotAllowed)
    assert server.requests == []


async def test_fetches_private_addresses_if_allowed() -> None:
    async with serving(answer(PICTURE)) as server, UrlFetcher(FetchPolicy(allow_private=True)) as fetching:
        assert await fetching.fetch(f"{server.url}/", MOST) == PICTURE


async def test_rejects_names_that_resolve_to_private_addresses() -> None:
    names = StaticResolver(
        loopback="127.0.0.1",
        metadata="169.254.169.254",
        mapped="::ffff:127.0.0.1",
        nat64="64:ff9b::7f00:1",
        several="10.0.0.1 192.168.0.1 fd00::1",
    )
    async with serving(answer(SECRET)) as server, downloads(names=names) as fetching:
        for name in names.table:
            with pytest.raises(UrlNotAllowed):
                await fetching.fetch(f"http://{name}.example:{server.port}/", MOST)
    assert server.requests == []


async def test_checks_the_address_that_it_connects_to() -> None:
    """The first look-up is harmless, the next one is not: what counts is whom we are connected to."""
    names = StaticResolver(rebinding=["127.0.0.1", "127.0.0.2"])
    async with (
        serving(answer(SECRET), "127.0.0.2") as inside,
        serving(redirect(f"http://rebinding.example:{inside.port}/")) as outside,
        downloads("127.0.0.1", names=names) as fetching,
    ):
        with pytest.raises(FetchError):
            await fetching.fetch(f"http://rebinding.example:{outside.port}/", MOST)
    assert len(outside.requests) == 1
    assert inside.requests == []


async def test_of_several_addresses_only_the_public_one_is_asked() -> None:
    names = StaticResolver(mixed="127.0.0.3 127.0.0.1")
    async with serving(answer(PICTURE)) as server, downloads("127.0.0.1", names=names) as fetching:
        assert await fetching.fetch(f"http://mixed.example:{server.port}/", MOST) == PICTURE


async def test_unknown_and_private_names_look_the_same() -> None:
    said = set()
    async with downloads(names=StaticResolver(inside="10.0.0.1")) as fetching:
        for name in ("inside", "nowhere"):
            with pytest.raises(UrlNotAllowed) as caught:
                await fetching.fetch(f"http://{name}.corp.example/", MOST)
            said.add(str(caught.value))
    assert len(said) == 1


@pytest.mark.parametrize("status", ["301 M", "302 F", "303 S", "307 T", "308 P"])
async def test_a_redirect_to_a_private_address_is_refused(status: str) -> None:
    async with (
        serving(answer(SECRET), "127.0.0.2") as inside,
        serving(redirect(f"http://127.0.0.2:{inside.port}/", status)) as outside,
        downloads("127.0.0.1") as fetching,
    ):
        with pytest.raises(UrlNotAllowed):
            await fetching.fetch(outside.url, MOST)
    assert inside.requests == []


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "http://user:secret@127.0.0.1/", "gopher://127.0.0.1/", "http://[::1"]
)
async def test_a_redirect_to_no_web_address_is_refused(target: str) -> None:
    with pytest.raises(FetchError):
        await fetched(redirect(target))


async def test_a_few_redirects_are_followed() -> None:
    async def say(line: str, writer: object) -> None:
        step = int(line.split("/step")[1].split()[0])
        told = answer(PICTURE) if step == 0 else redirect(f"step{step - 1}")
        await told(line, writer)  # type: ignore[arg-type]

    assert await fetched(say, f"/step{MAX_REDIRECTS}") == PICTURE
    with pytest.raises(UrlNotAllowed, match="redirects"):
        await fetched(say, f"/step{MAX_REDIRECTS + 1}")


@pytest.mark.parametrize(
    "address",
    [
        "ftp://example.org/a.png",
        "file:///etc/passwd",
        "http://user:secret@127.0.0.1/",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/ HTTP/1.1\r\nX-Evil: 1",
        "http://127.0.0.1\\@example.org/",
        "http://127.0.0.1/" + "a" * MAX_URL_LENGTH,
    ],
)
async def test_rejects_invalid_urls(address: str) -> None:
    async with downloads("127.0.0.1") as fetching:
        with pytest.raises(UrlNotAllowed):
            await fetching.fetch(address, MOST)


async def test_errors_do_not_repeat_the_servers_response() -> None:
    with pytest.raises(UrlUnreachable) as caught:
        await fetched(answer(SECRET, status="403 Secret"))
    assert "403" in str(caught.value)
    assert "ecret" not in str(caught.value)


@pytest.mark.parametrize(
    "say",
    [
        answer(b"short", "Content-Length: 50000"),
        answer(b"x" * 500, "Content-Length: 5"),
        answer(b"zz\r\nnot chunks", "Transfer-Encoding: chunked"),
        answer(b"", "Content-Length: -5"),
        answer(b"packed", "Content-Encoding: gzip"),
        answer(b"packed", "Content-Encoding: br"),
        answer(b"", "X: " + "y" * 100_000),
    ],
)
async def test_rejects_truncated_and_mislabelled_responses(say: Say) -> None:
    with pytest.raises(UrlUnreachable):
        await fetched(say)


async def test_a_server_that_speaks_something_else_gives_nothing() -> None:
    async def say(_: str, writer: object) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")  # type: ignore[attr-defined]

    with pytest.raises(UrlUnreachable):
        await fetched(say)


async def test_a_refused_connection_is_an_error() -> None:
    async with serving(answer(PICTURE)) as server:
        pass
    async with downloads("127.0.0.1") as fetching:
        with pytest.raises(UrlUnreachable):
            await fetching.fetch(server.url, MOST)


@pytest.mark.parametrize(
    "say",
    [
        answer(b"x" * (MOST + 1)),
        answer(b"x" * 10, f"Content-Length: {MOST + 1}"),
        endless(b"x" * 10_000),
        answer(gzip.compress(b"\0" * 50 * MOST), "Content-Encoding: gzip"),
        answer(zlib.compress(b"\0" * 50 * MOST), "Content-Encoding: deflate"),
    ],
    ids=["long", "said to be long", "endless", "gzip bomb", "deflate bomb"],
)
async def test_rejects_files_over_the_limit(say: Say) -> None:
    with pytest.raises(FileTooLarge):
        await fetched(say)


async def test_a_file_that_comes_packed_is_unpacked() -> None:
    assert await fetched(answer(gzip.compress(PICTURE), "Content-Encoding: gzip")) == PICTURE


async def test_a_file_of_exactly_the_limit_is_taken() -> None:
    assert len(await fetched(answer(b"x" * MOST))) == MOST


async def test_a_server_that_dawdles_is_left() -> None:
    with pytest.raises(UrlUnreachable, match=r"longer than 0.3 s"):
        await fetched(endless(b"x", pause=0.05), seconds=0.3)


async def test_our_own_outputs_are_fetched_wherever_they_are() -> None:
    async with serving(answer(PICTURE)) as server:
        own = f"{server.url}/bucket/outputs/"
        async with downloads(own=own) as fetching:
            assert await fetching.fetch(f"{own}ab/abcd.png?X-Amz-Signature=1", MOST) == PICTURE
            for escape in ("../admin", "%2e%2E/admin", "a/..%2f..", ".%2e/"):
                with pytest.raises(UrlNotAllowed):
                    await fetching.fetch(own + escape, MOST)
            with pytest.raises(UrlNotAllowed):
                await fetching.fetch(f"{server.url}/other/outputs/a.png", MOST)
    assert len(server.requests) == 1


async def test_does_not_follow_redirects_of_the_own_store() -> None:
    async with serving(redirect("http://127.0.0.1/")) as server:
        own = f"{server.url}/outputs/"
        with pytest.raises(UrlUnreachable, match="302"):
            async with downloads(own=own) as fetching:
                await fetching.fetch(f"{own}a.png", MOST)


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found"])
async def test_says_of_own_outputs_that_are_gone_how_to_get_another_url(status: str) -> None:
    async with serving(answer(b"<Error/>", status=status)) as server:
        own = f"{server.url}/outputs/"
        async with downloads(own=own) as fetching:
            with pytest.raises(UrlUnreachable, match="has expired; get the job again for a new URL"):
                await fetching.fetch(f"{own}a.png", MOST)


async def refusal(say: Say, *reachable: str) -> tuple[InvalidRequest, ScriptedHttpServer]:
    """Why a picture at that server's address is not taken."""
    async with serving(say) as server, downloads(*reachable) as fetching:
        with pytest.raises(InvalidRequest) as caught:
            await read_image(
                f" {server.url}/a.png\n",
                limits=ImageLimits(max_bytes=MOST),
                param="mask",
                fetch=fetching.fetch,
            )
    assert caught.value.param == "mask"
    return caught.value, server


async def test_reads_an_image_from_its_url() -> None:
    say = answer(PICTURE, "Content-Type: text/html")
    async with serving(say) as server, downloads("127.0.0.1") as fetching:
        image = await read_image(f"{server.url}/a", limits=ImageLimits(), fetch=fetching.fetch)
    assert (image.content_type, image.width, image.height) == ("image/png", 64, 64)


async def test_each_refusal_has_its_code() -> None:
    refused, server = await refusal(answer(SECRET))
    assert (refused.code, server.requests) == ("image_url_refused", [])
    assert (await refusal(answer(b"", status="404 Not Found"), "127.0.0.1"))[
        0
    ].code == "image_url_unreachable"
    assert (await refusal(answer(b"x" * (MOST + 1)), "127.0.0.1"))[0].code == "image_too_large"
    assert (await refusal(answer(bomb()), "127.0.0.1"))[0].code == "image_too_large"
    liar, _ = await refusal(answer(b"<html>", "Content-Type: image/png"), "127.0.0.1")
    assert liar.code == "unsupported_image_format"
    assert "html" not in liar.message
