from __future__ import annotations

import re

from orchestrator.billing import api_keys


def test_a_key_is_pk_and_32_random_bytes() -> None:
    key = api_keys.generate_api_key(lambda count: bytes(range(count)))
    assert key == "pk-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert re.fullmatch(r"pk-[A-Za-z0-9_-]{43}", api_keys.generate_api_key())


def test_no_two_keys_are_alike() -> None:
    assert len({api_keys.generate_api_key() for _ in range(100)}) == 100


def test_a_key_is_found_by_its_digest_only() -> None:
    key = api_keys.generate_api_key()
    stored = api_keys.hash_api_key(key)
    assert re.fullmatch(r"[0-9a-f]{64}", stored)
    assert api_keys.verify_api_key(key, stored)
    assert not api_keys.verify_api_key(key + "x", stored)
    assert not api_keys.verify_api_key("", stored)


def test_a_text_that_is_not_unicode_is_just_no_key() -> None:
    assert not api_keys.verify_api_key("pk-\ud800", api_keys.hash_api_key("pk-"))


def test_little_of_a_key_is_shown() -> None:
    key = api_keys.generate_api_key(lambda count: b"\xff" * count)
    assert api_keys.mask_api_key(api_keys.api_key_prefix(key)) == "pk-____..."
    assert len(api_keys.api_key_prefix(key)) == 7
