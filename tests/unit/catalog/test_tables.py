from __future__ import annotations

from orchestrator.catalog.markdown_tables import format_model_table, format_parameter_table
from tests.support.drafts import CATALOG, parse


def test_a_row_for_each_model() -> None:
    table = format_model_table(CATALOG, lambda model: f"${len(model.id)}").splitlines()
    assert table[0] == "| id | name | type | largest | steps | price | license | also |"
    assert len(table) == len(CATALOG) + 2
    assert (
        "| `wan2.1-t2v-fast` | Wan 2.1 T2V Fast | video | 832x480, 165 frames | 20 | $15 | Apache-2.0 |  |"
        in table
    )
    assert "`upscale-4x`" in next(row for row in table if "4x-ultrasharp" in row)


def test_a_row_for_each_parameter() -> None:
    table = format_parameter_table(CATALOG["flux-1-fill-dev"])
    assert "| `prompt` | string | required | up to 32000 characters |" in table
    assert "| `mask_channel` | string | alpha | alpha, red |" in table
    assert "| `steps` | integer | 20 | 1 to 150 |" in table
    assert "| `image` | image | required | up to 2048x2048 |" in table
    assert "| `seed` | seed |  | 0 to 2^64 - 1 |" in table


def test_a_bar_in_a_text_breaks_no_table() -> None:
    choice = {"type": "string", "choices": ["a|b"], "description": "one|other"}
    assert r"| a\|b | one\|other |" in format_parameter_table(parse(parameters={"p": choice}))
