"""Datasets from outside: what is taken, every limit, every way to be broken or malicious."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Mapping
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile, ZipInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from orchestrator.errors import InvalidRequest
from orchestrator.media.errors import FileTooLarge, UrlNotAllowed, UrlUnreachable
from orchestrator.media.inputs.archives import MAX_DIRECTORY_BYTES
from orchestrator.media.inputs.datasets import (
    MAX_CAPTION_BYTES,
    DatasetLimits,
    InputDataset,
    iter_dataset_files,
    read_dataset,
)
from orchestrator.media.inputs.input_images import ImageLimits
from tests.support.datasets import PETS, data_url, zipped
from tests.support.images import bomb, png
from tests.support.media_samples import SECRET, encoded, exif, film, gradient

FOX = png(32, 32)


async def read(value: str | bytes, **limits: Any) -> InputDataset:
    return await read_dataset(value, limits=DatasetLimits(**limits))


async def refusal(value: str | bytes, **limits: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        await read_dataset(value, limits=DatasetLimits(**limits), param="pets")
    assert caught.value.param == "pets"
    return caught.value


def files(dataset: InputDataset) -> dict[str, bytes]:
    return {name: data for name, _, data in iter_dataset_files(dataset.data)}


def captions(dataset: InputDataset) -> dict[str, str]:
    return {name: data.decode() for name, data in files(dataset).items() if name.endswith(".txt")}


def with_entry(name: str, data: bytes = FOX, mode: int = 0o644, compression: int = ZIP_STORED) -> bytes:
    """An archive of one file, whose name is written as it is."""
    buffer = io.BytesIO()
    with ZipFile(buffer, "w", compression) as archive:
        info = ZipInfo("x" * len(name))
        info.external_attr, info.compress_type = mode << 16, compression
        archive.writestr(info, data)
    return buffer.getvalue().replace(b"x" * len(name), name.encode())


def patched(archive: bytes, mark: bytes, offset: int, value: bytes) -> bytes:
    """`value` in the place of the bytes at `offset` from the last `mark`."""
    at = archive.rindex(mark) + offset
    return archive[:at] + value + archive[at + len(value) :]


END, ENTRY = b"PK\x05\x06", b"PK\x01\x02"


# ---------------------------------------------------------------------------- what is taken


async def test_images_and_captions_under_plain_names() -> None:
    dataset = await read(zipped())
    assert dataset.image_count == 3
    assert list(files(dataset)) == ["0000.png", "0000.txt", "0001.png", "0001.txt", "0002.png"]
    assert captions(dataset) == {"0000.txt": "a cat on a mat", "0001.txt": "a dog in the fog"}
    assert dataset.captions == "a cat on a mat\na dog in the fog"
    kinds = [kind for _, kind, _ in iter_dataset_files(dataset.data)]
    assert kinds == ["image/png", "text/plain", "image/png", "text/plain", "image/png"]


async def test_the_same_images_are_the_same_dataset() -> None:
    """However they were packed, and in whatever order."""
    first = await read(zipped())
    again = await read(zipped(dict(reversed(list(PETS.items()))), ZIP_STORED))
    fewer = await read(zipped({name: data for name, data in PETS.items() if "cat" not in name}))
    assert first == again
    assert fewer.sha256 != first.sha256


@pytest.mark.parametrize("wrap", [bytes, data_url, lambda data: base64.b64encode(data).decode()])
async def test_every_wrapping(wrap: Any) -> None:
    assert await read(wrap(zipped())) == await read(zipped())


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
async def test_an_image_is_a_dataset_of_one(kind: str) -> None:
    dataset = await read(encoded(gradient(), kind))
    assert dataset.image_count == 1
    (name,) = files(dataset)
    assert name == {"PNG": "0000.png", "JPEG": "0000.jpg", "WEBP": "0000.webp", "GIF": "0000.png"}[kind]


async def test_what_computers_put_into_archives_is_passed_over() -> None:
    junk = {
        "__MACOSX/._fox.png": b"resource fork",
        ".DS_Store": b"view settings",
        "pets/.hidden.png": b"no picture",
        "Thumbs.db": b"thumbnails",
        "readme.md": b"# Pets",
        "notes.txt": b"a text of no picture",
        "pets/": b"",
    }
    dataset = await read(zipped({**junk, "pets/fox.png": FOX}))
    assert list(files(dataset)) == ["0000.png"]


async def test_images_are_upright_and_carry_no_location() -> None:
    """A JPEG that was turned stays a JPEG: as PNG it would be ten times as large."""
    turned = encoded(gradient(48, 32), "JPEG", exif=exif(6))
    (data,) = files(await read(zipped({"fox.jpg": turned}))).values()
    assert SECRET.encode() not in data
    with Image.open(io.BytesIO(data)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (32, 48))


async def test_captions_of_one_stem_in_two_folders() -> None:
    dataset = await read(
        zipped({"a/fox.png": FOX, "a/fox.txt": b"one", "b/fox.png": FOX, "b/fox.TXT": b"two"})
    )
    assert captions(dataset) == {"0000.txt": "one", "0001.txt": "two"}


# ---------------------------------------------------------------------------- what is not

#: What is handed over, and words of the answer.
Cases = Mapping[str, tuple[bytes | str, str]]
INVALID: Cases = {
    "nothing": (b"", "empty"),
    "no base64": ("!!!", "base64"),
    "half an archive": (zipped()[:-200], "truncated"),
    "a beginning only": (zipped()[:100], "truncated"),
    "a way up": (with_entry("../fox.png"), "path outside"),
    "a way up in the middle": (with_entry("a/../../fox.png"), "path outside"),
    "the root": (with_entry("/etc/fox.png"), "path outside"),
    "a drive": (with_entry("C:\\fox.png"), "path outside"),
    "backslashes up": (with_entry("..\\fox.png"), "path outside"),
    "a link": (with_entry("fox.png", b"/etc/passwd", 0o120777), "symbolic link"),
    "encrypted": (patched(with_entry("fox.png"), ENTRY, 8, b"\x01\x00"), "encrypted"),
    "packed strangely": (with_entry("fox.png", compression=ZIP_LZMA), "unsupported compression"),
    "two of one stem": (zipped({"a.png": FOX, "a.webp": FOX}), "two images named a"),
    "a damaged picture": (zipped({"fox.png": FOX[:60]}), "fox.png is not a readable image"),
    "a text as picture": (zipped({"fox.png": b"a fox"}), "fox.png is not a readable image"),
    "a wrong checksum": (zipped({"fox.png": FOX}, ZIP_STORED).replace(b"IDAT", b"IDAX", 1), "damaged"),
    "a length that lies": (patched(with_entry("fox.png"), ENTRY, 24, struct.pack("<I", 40)), "damaged"),
    "a Latin-1 caption": (zipped({"a.png": FOX, "a.txt": b"caf\xe9"}), "UTF-8"),
    "a NUL in a caption": (zipped({"a.png": FOX, "a.txt": b"a\0b"}), "NUL"),
}
TOO_LARGE: Cases = {
    "a book as caption": (zipped({"a.png": FOX, "a.txt": b"fox " * MAX_CAPTION_BYTES}), "a.txt"),
    "more pixels than memory": (zipped({"fox.png": bomb()}), "pixels"),
    "a bomb": (zipped({"fox.png": FOX, "big.txt": bytes(16 * 2**20)}), "unpacks to"),
    "a long directory": (patched(zipped(), END, 12, struct.pack("<I", MAX_DIRECTORY_BYTES + 1)), "entries"),
    "the format for giants": (zipped()[:-22] + b"PK\x06\x07" + bytes(16) + zipped()[-22:], "entries"),
}
EMPTY: Cases = {
    "no entries": (zipped({}), "no images"),
    "texts only": (zipped({"fox.txt": b"a fox"}), "no images"),
    "pictures of other kinds only": (zipped({"fox.heic": b"ftyp"}), "png, webp"),
}
OTHERS: Cases = {
    "a page": (b"<html>sign in</html>", "zip archive"),
    "a film": (film(), "zip archive"),
    "another archive": (b"7z\xbc\xaf\x27\x1c", "zip archive"),
}


@pytest.mark.parametrize(
    ("code", "value", "words"),
    [
        pytest.param(code, *case, id=name)
        for code, cases in {
            "invalid_dataset": INVALID,
            "dataset_too_large": TOO_LARGE,
            "empty_dataset": EMPTY,
            "unsupported_dataset_format": OTHERS,
            "dataset_url_not_supported": {"an address": ("http://a/b.zip", "URLs are not fetched")},
        }.items()
        for name, case in cases.items()
    ],
)
async def test_rejects_invalid_archives(code: str, value: bytes | str, words: str) -> None:
    error = await refusal(value)
    assert error.code == code
    assert words in error.message


async def test_two_files_of_one_name() -> None:
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        archive.writestr("fox.png", FOX)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("fox.png", FOX)
    assert "two files named fox.png" in (await refusal(buffer.getvalue())).message


@pytest.mark.parametrize(
    "limits",
    [
        {"max_bytes": 500},
        {"max_images": 2},
        {"max_pixels": 64 * 64 + 96 * 64 + 64 * 128 - 1},
        {"image_limits": ImageLimits(max_bytes=100)},
        {"image_limits": ImageLimits(max_pixels=1000)},
        {"image_limits": ImageLimits(max_side=100)},
    ],
)
async def test_every_limit(limits: dict[str, Any]) -> None:
    assert (await refusal(zipped(), **limits)).code == "dataset_too_large"


async def test_unpacked_it_may_be_twice_as_large_and_no_more() -> None:
    archive = zipped({f"{number}.txt": b"fox" * 3000 for number in range(20)} | {"fox.png": FOX})
    assert len(archive) < 60_000
    assert (await refusal(archive, max_bytes=60_000)).message.count("unpacks to") == 1
    assert (await read(archive, max_bytes=120_000)).image_count == 1


async def test_images_that_grow_when_they_are_brought_upright() -> None:
    noise = Image.effect_noise((400, 300), 80).convert("RGB")
    turned = encoded(noise, "WEBP", quality=1, exif=exif(6))
    archive = zipped({f"{number}.webp": turned for number in range(9)})
    assert "once re-encoded" in (await refusal(archive, max_bytes=len(archive))).message
    assert (await read(archive)).image_count == 9


async def test_many_small_entries() -> None:
    archive = zipped({f"{number}.md": b"" for number in range(50)} | {"fox.png": FOX})
    assert (await refusal(archive, max_images=10)).code == "dataset_too_large"
    assert (await read(archive, max_images=20)).image_count == 1


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (UrlNotAllowed("no"), "dataset_url_refused"),
        (UrlUnreachable("away"), "dataset_url_unreachable"),
        (FileTooLarge("large"), "dataset_too_large"),
    ],
)
async def test_an_address_that_gives_nothing(failure: Exception, code: str) -> None:
    async def fetch(address: str, most: int) -> bytes:
        assert (address, most) == ("https://example.org/pets.zip", 1000)
        raise failure

    with pytest.raises(InvalidRequest) as caught:
        await read_dataset(" https://example.org/pets.zip", limits=DatasetLimits(max_bytes=1000), fetch=fetch)
    assert (caught.value.code, caught.value.param) == (code, "dataset")


@settings(deadline=None, max_examples=100)
@given(st.data())
async def test_damaged_archives_are_read_or_refused(data: st.DataObject) -> None:
    damaged = bytearray(zipped())
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        dataset = await read(bytes(damaged))
    except InvalidRequest as error:
        assert error.code.endswith(("_dataset", "_too_large", "_format"))  # noqa: PT017
    else:
        assert 1 <= dataset.image_count <= 3


async def test_rejects_an_entry_without_a_name() -> None:
    archive = zipped({"a.png": FOX}, ZIP_STORED)
    directory = archive.rindex(ENTRY)
    nameless = patched(archive[: directory + 46] + archive[directory + 46 + 5 :], ENTRY, 28, b"\0\0")
    nameless = patched(nameless, END, 12, struct.pack("<I", 46))
    error = await refusal(nameless)
    assert (error.code, "without a name" in error.message) == ("invalid_dataset", True)


async def test_rejects_an_entry_that_is_shorter_than_it_declares() -> None:
    archive = zipped({"a.png": FOX}, ZIP_DEFLATED)
    longer = patched(archive, ENTRY, 24, struct.pack("<I", len(FOX) + 1))
    error = await refusal(longer)
    assert (error.code, "is damaged" in error.message) == ("invalid_dataset", True)


# ---------------------------------------------------------------------------- what is not used


def archive_of(*names: str) -> bytes:
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "a caption" if name.lower().endswith(".txt") else FOX)
    return buffer.getvalue()


async def test_names_files_that_are_neither_images_nor_captions() -> None:
    dataset = await read(archive_of("fox.png", "fox.txt", "cat.gif", "notes.md", ".DS_Store", "__MACOSX/a"))
    (unused,) = dataset.unused
    assert unused.startswith("not used: 'cat.gif', 'notes.md'; images are jpeg, jpg, png, webp")


async def test_names_captions_without_an_image() -> None:
    dataset = await read(archive_of("a/fox.png", "a/Fox.txt", "b/fox.txt", "fox.TXT"))
    (unused,) = dataset.unused
    assert unused.startswith("not used: 'a/Fox.txt', 'b/fox.txt', 'fox.TXT'; a caption has the name")
    assert dataset.captions == ""


async def test_takes_a_caption_in_either_case_and_names_the_second_one() -> None:
    assert captions(await read(archive_of("fox.PNG", "fox.Txt"))) == {"0000.txt": "a caption"}
    dataset = await read(archive_of("fox.png", "fox.TXT", "fox.txt"))
    assert "not used: 'fox.TXT';" in dataset.unused[0]


async def test_names_few_of_many_unused_files_and_no_long_names() -> None:
    dataset = await read(archive_of("fox.png", "x" * 200 + ".bmp", *(f"{n}.gif" for n in range(40))))
    (unused,) = dataset.unused
    assert "and 36 more" in unused
    assert len(unused) < 300


async def test_uses_everything_of_a_complete_dataset() -> None:
    assert (await read(zipped())).unused == ()


async def test_rejects_an_archive_of_unusable_files_and_names_them() -> None:
    error = await refusal(archive_of("cat.gif", "dog.bmp"))
    assert error.code == "empty_dataset"
    assert "it has 'cat.gif', 'dog.bmp'" in error.message
