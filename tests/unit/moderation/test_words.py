"""Word lists: what is found however it is written, and what is left alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ContentBlocked
from orchestrator.moderation import Moderation, PolicyViolation, WordListError, WordListPolicy
from orchestrator.moderation.normalize import fold_text, normalize_words

LISTS = """
words = ["badword", "very bad", "плохо", "武器", "🔫", "ano", "straße"]
patterns = ['n+o{2,}de', 'проба\\d']

[accounts.acct_strict]
words = ["fox"]
patterns = ['^a ']
"""


@pytest.fixture
def lists(tmp_path: Path) -> WordListPolicy:
    file = tmp_path / "lists.toml"
    file.write_text(LISTS, encoding="utf-8")
    return WordListPolicy.load(file)


async def found(lists: WordListPolicy, text: str, account: str = "acct_any") -> str | None:
    finding = await lists.check(account, {"prompt": text})
    return finding.rule if finding else None


@pytest.mark.parametrize(
    "text",
    [
        "badword",
        "a BadWord, please",
        "(badword)",
        "bad\u200bword",  # zero-width space
        "b\u00ada\u2060d\ufeffword",  # soft hyphen, word joiner, byte order mark
        "bad\ufe0fwo\u034frd",  # variation selector, grapheme joiner
        "b\u0430dw\u043erd",  # Cyrillic a and o
        "\u0412\u0410DWORD",  # Cyrillic capitals
        "b\u03b1dw\u03bfrd",  # Greek
        "\uff42\uff41\uff44\uff57\uff4f\uff52\uff44",  # full width
        "\U0001d41b\U0001d41a\U0001d41d\U0001d430\U0001d428\U0001d42b\U0001d41d",  # mathematical bold
        "\u24d1\u24d0\u24d3\u24e6\u24de\u24e1\u24d3",  # in circles
        "b\u0336a\u0336d\u0336w\u0336o\u0336r\u0336d\u0336",  # struck out
        "\u202edrow\u202c badword",
        "something\u00a0very\n\tBAD",
        "very-bad",
        "very_bad",
        "очень ПЛОХО",
        "神秘的武器展",
        "boom🔫boom",
        "STRASSE",
        "strase STRAẞE",
        "ANO!",
        "nnoooode",
        "NOODE",
        "\u043f\u0440\u043e\u0431\u04307",
    ],
)
async def test_a_word_is_found_however_it_is_written(lists: WordListPolicy, text: str) -> None:
    assert await found(lists, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a fox in the snow",
        "badwords",
        "notbadword",
        "very nice, not bad",
        "plan b",
        "año nuevo",
        "piano",
        "武 術",
        "node",
        "क़िला badwordक",
        "\ud800",
    ],
)
async def test_other_words_are_left_alone(lists: WordListPolicy, text: str) -> None:
    assert await found(lists, text) is None


async def test_an_account_has_lists_of_its_own(lists: WordListPolicy) -> None:
    assert await found(lists, "a fox") is None
    assert await found(lists, "the fox", "acct_strict") == "word 1 of the lists of acct_strict"
    assert await found(lists, "A cat", "acct_strict") == "pattern 1 of the lists of acct_strict"
    assert await found(lists, "badword", "acct_strict") == "word 1 of the lists for all accounts"


async def test_checks_every_text_field(lists: WordListPolicy) -> None:
    finding = await lists.check("acct_any", {"prompt": "a cat", "negative_prompt": "badword"})
    assert finding == PolicyViolation(param="negative_prompt", rule="word 1 of the lists for all accounts")


async def test_a_text_file_has_a_word_on_each_line(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("# what nobody wants\n\nbadword\n  very bad  \n", encoding="utf-8")
    lists = WordListPolicy.load(file)
    assert await found(lists, "very bad") == "word 2 of the lists for all accounts"
    assert await found(lists, "what nobody wants") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("words = [", "Invalid value"),
        ("words = 'badword'", "words: Input should be a valid list"),
        ("wrods = ['badword']", "wrods: Extra inputs"),
        ("words = ['']", "contains no letters"),
        ("words = ['\u200b']", "contains no letters"),
        ("patterns = ['(']", "not a valid regular expression"),
        ("[accounts]\nacct_a = ['b']", "accounts.acct_a"),
    ],
)
def test_a_wrong_file_is_refused_with_a_reason(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "lists.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(WordListError, match=reason):
        WordListPolicy.load(file)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\xff"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "words.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(WordListError, match=r"words\.txt"):
        WordListPolicy.load(file)


@given(st.text())
def test_reading_twice_changes_nothing(text: str) -> None:
    assert normalize_words(normalize_words(text)) == normalize_words(text)
    assert fold_text(fold_text(text)) == fold_text(text)


@given(st.text(), st.text())
def test_a_text_holds_its_own_words(before: str, after: str) -> None:
    assert normalize_words("badword") in normalize_words(f"{before} badword {after}")


class RejectEverythingPolicy:
    """A policy that objects to everything."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, str]] = []

    async def check(self, account_id: str, texts: Mapping[str, str]) -> PolicyViolation | None:
        self.asked.append(texts)
        return PolicyViolation(param="prompt", rule="everything")


async def test_without_policies_everything_passes() -> None:
    await Moderation().check("acct_any", {"prompt": "badword"})


async def test_errors_name_no_rule_and_logs_no_prompt(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    policy = RejectEverythingPolicy()
    with pytest.raises(ContentBlocked) as caught:
        await Moderation([policy, RejectEverythingPolicy()]).check(
            "acct_any", {"prompt": "my fox", "negative_prompt": " "}
        )
    error = caught.value
    assert (error.status, error.type, error.code) == (400, "invalid_request", "content_policy_violation")
    assert error.param == "prompt"
    assert "everything" not in error.message
    assert "everything" in caplog.text
    assert "fox" not in caplog.text
    assert policy.asked == [{"prompt": "my fox"}]


async def test_empty_texts_are_not_sent() -> None:
    policy = RejectEverythingPolicy()
    await Moderation([policy]).check("acct_any", {"prompt": "", "negative_prompt": "\n"})
    assert policy.asked == []
