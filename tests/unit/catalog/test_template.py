"""Leaves of a graph: types survive, prompts are never read as anything but text, Python is out of reach."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.catalog import CatalogError
from tests.support.drafts import showing, shown, unhurried

STEPS = {"type": "integer", "minimum": 1, "maximum": 50, "default": 4}
CFG = {"type": "number", "minimum": 0.0, "maximum": 20.0, "default": 1.0}
FLAG = {"type": "boolean"}

VERBATIM = showing("{{ prompt }}")
EMBEDDED = showing("<{{ prompt }}>")
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@unhurried
@given(texts)
@example("{{ 7*7 }}")
@example("{% raw %}")
@example("{# gone? #}")
@example('"], "x": [')
@example("123")
@example("[1]")
@example("None")
@example("True")
@example("{'a': 1}")
@example("1e400")
@example(" padded \n")
@example("\r\n")
@example("{{ prompt }}")
@example("\u202eright to left")
def test_a_prompt_arrives_as_exactly_its_text(prompt: str) -> None:
    assert shown(VERBATIM, prompt=prompt) == prompt
    assert shown(EMBEDDED, prompt=prompt) == f"<{prompt}>"


@pytest.mark.parametrize(
    ("leaf", "value"),
    [
        ("{{ steps }}", 7),
        ("{{ steps // 2 }}", 3),
        ("{{ steps * 3 % 4 }}", 1),
        ("{{ 2 ** steps }}", 128),
        ("{{ cfg }}", 2.5),
        ("{{ [cfg, 1.0] | max }}", 2.5),
        ("{{ flag }}", True),
        ("{{ seed }}", 2**64 - 1),
        ("{{ none }}", None),
        ("{{ [steps, 1] }}", [7, 1]),
        ("{{ {'a': steps} }}", {"a": 7}),
        ("{{- steps -}}", 7),
        ("{{ steps }}/{{ cfg }}", "7/2.5"),
        ("{{ steps }} ", "7 "),
        ("{{ '{{' }}", "{{"),
        ("no expression", "no expression"),
    ],
)
def test_an_expression_keeps_its_type(leaf: str, value: object) -> None:
    model = showing(leaf, steps=STEPS, cfg=CFG, flag=FLAG)
    result = shown(model, steps=7, cfg=2.5, flag=True, seed=2**64 - 1)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    "leaf",
    [
        "{{ ''.__class__ }}",
        "{{ prompt.__class__.__mro__ }}",
        "{{ prompt | attr('__class__') }}",
        "{{ prompt.format.__globals__ }}",
        "{{ '{0.__class__}'.format(prompt) }}",
        "{{ self }}",
        "{{ self._TemplateReference__context }}",
        "{{ cycler }}",
        "{{ lipsum.__globals__ }}",
        "{{ range(3) }}",
        "{{ [1, 2] | random }}",
        "{{ [].append(1) or weights.update(a=1) }}",
        "{{ 'x' * 999999999 }}",
        "{{ [0] * 999999999 }}",
        "{{ '%999999999d' % seed }}",
        "{{ 9 ** 999999999 }}",
        "{{ prompt.center(999999999) }}",
        "{{ prompt | center(999999999) }}",
        "{% for x in prompt %}{{ x }}{% endfor %}",
        "{% set x = 1 %}{{ x }}",
        "{% include 'secret' %}",
        "{% import 'os' as os %}{{ os }}",
    ],
)
def test_expressions_cannot_leave_the_sandbox(leaf: str) -> None:
    with pytest.raises(CatalogError):
        showing(leaf)


@pytest.mark.parametrize(
    ("leaf", "said"),
    [
        ("{{ promt }}", "unknown name promt"),
        ("{{ item }}", "unknown name item"),
        ("{{ prompt", "unexpected end of template"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ prompt + 1 }}", "concatenate"),
        ("{{ weights.unet }}", "no attribute 'unet'"),
        ("{{ prompt.upper }}", "cannot be represented in JSON"),
        ("{{ prompt.upper() }}", "calls are not allowed"),
    ],
)
def test_a_bad_leaf_is_named_when_the_model_is_read(leaf: str, said: str) -> None:
    with pytest.raises(CatalogError, match=r"draft/graph\.json: node shown, input value: ") as caught:
        showing(leaf)
    assert said in str(caught.value)
