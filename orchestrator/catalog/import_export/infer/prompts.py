"""Bind the prompt: follow the conditioning of samplers to its encoders, and their texts to their literals.

A text may pass nodes that join, replace, choose, generate or show texts. What else is joined with the prompt,
such as a style or a system prompt, stays fixed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from orchestrator.catalog.checks.node_facts import ANY_TYPE, NodeInput, output_types
from orchestrator.catalog.import_export.infer.bindings import ParameterBindings
from orchestrator.catalog.import_export.infer.constants import InputRef
from orchestrator.catalog.rendering.graph import Link, iter_links, parse_link

_PARAMETER_NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]*")
# Inputs of text encoders with several towers, which take the same text for each.
_TEXT_ENCODER_INPUTS = frozenset({"clip_l", "clip_g", "t5xxl", "llama", "bert", "mt5xl", "qwen25_7b"})
#: Inputs of unknown classes that are conditionings.
_CONDITIONING_NAMES = frozenset({"positive", "negative", "conditioning"})
_NEGATIVE_NAME = re.compile(r"neg|uncond", re.IGNORECASE)
#: Conditionings that stand for no text, or for one that another input has too.
_SECONDARY_NAME = re.compile(r"cond[2-9]|empty|middle", re.IGNORECASE)
#: Titles of nodes whose text is not what callers write.
_AUXILIARY_TITLE = re.compile(
    r"system|template|style|prefix|suffix|quality|instruct|trigger|negative|enhance|format", re.IGNORECASE
)
#: Inputs of text nodes that say how texts are joined, replaced or generated.
_AUXILIARY_INPUT = re.compile(
    r"delim|separat|find|replace|regex|pattern|system|mode|linebreak|thinking|filename|path",
    re.IGNORECASE,
)
#: Words for what callers write, in titles and placeholders.
_USER_WORD = re.compile(r"prompt|user|input|query|positive", re.IGNORECASE)
#: Quality tags, which authors add to every prompt.
_STYLE_WORD = re.compile(r"\bstyle\b|masterpiece|quality|highres|\b8k\b", re.IGNORECASE)
_TEXT_INPUT = re.compile(r"text|prompt|string|value|tags", re.IGNORECASE)
_MAX_SOURCES = 200


@dataclass(frozen=True, slots=True)
class _TextSource:
    """A literal text on the way to an encoder."""

    place: InputRef
    text: str
    #: The placeholder that the text replaces in another one; empty for none.
    placeholder: str = ""
    #: Whether another text replaces a placeholder in it, or only a part of it is used.
    is_template: bool = False


def bind_prompts(bindings: ParameterBindings, samplers: Sequence[str], needed: Sequence[str]) -> None:
    """Bind `prompt`, `negative_prompt` and further texts of the encoders.

    `samplers` are nodes that get conditionings. If none of them has a text, that of any other encoder or text
    generator that an output needs is the prompt.
    """
    consumers = [
        *samplers,
        *(id for id in needed if id not in samplers and _is_unknown_sampler(bindings, id)),
    ]
    negative = list(_find_encoders(bindings, consumers, _is_negative))
    positive = list(_find_encoders(bindings, consumers, _is_positive))
    for id in positive:
        _bind_texts(bindings, "prompt", id)
    for id in negative:
        if id not in positive:
            _bind_texts(bindings, "negative_prompt", id)
    # Loaders of some packs encode both texts.
    for id in {**dict.fromkeys(positive), **dict.fromkeys(negative)}:
        for input in _named_negative(bindings, id):
            bindings.bind("negative_prompt", _find_text(bindings, id, input))
    for id in _find_encoders(bindings, consumers, _is_secondary):
        if id not in positive and id not in negative:
            _bind_secondary(bindings, id)
    if "prompt" not in bindings.parameters:
        for id in _other_text_users(bindings, needed):
            if id not in negative and not _AUXILIARY_TITLE.search(_title(bindings, id)):
                _bind_texts(bindings, "prompt", id)


def _is_negative(name: str) -> bool:
    return _NEGATIVE_NAME.search(name) is not None


def _is_secondary(name: str) -> bool:
    return not _is_negative(name) and _SECONDARY_NAME.search(name) is not None


def _is_positive(name: str) -> bool:
    return not _is_negative(name) and not _is_secondary(name)


def _is_unknown_sampler(bindings: ParameterBindings, id: str) -> bool:
    """Return whether a node of an unknown class gets conditionings as samplers do."""
    return not bindings.node_facts(id) and any(
        name in ("positive", "negative") for name, _ in iter_links(bindings.graph[id]["inputs"])
    )


def _find_encoders(
    bindings: ParameterBindings, samplers: Iterable[str], has_role: Callable[[str], bool]
) -> Iterator[str]:
    """Yield the nodes from which conditionings with a role start, nearest first."""
    waiting = [
        link
        for id in samplers
        for name, link in iter_links(bindings.graph[id]["inputs"])
        if _is_conditioning(bindings, id, name) and has_role(name)
    ]
    seen: set[Link] = set()
    for link in waiting:  # grows while it is walked
        if link in seen or "ZeroOut" in bindings.graph[link.node]["class_type"]:
            continue
        seen.add(link)
        further = _upstream_conditionings(bindings, link)
        if further:
            waiting.extend(further)
        else:
            yield link.node


def _is_conditioning(bindings: ParameterBindings, id: str, name: str) -> bool:
    inputs = bindings.node_inputs(id)
    return "CONDITIONING" in inputs[name].type if name in inputs else name in _CONDITIONING_NAMES


def _upstream_conditionings(bindings: ParameterBindings, link: Link) -> list[Link]:
    """Return the conditionings that an output of a node depends on."""
    linked = {
        name: source
        for name, source in iter_links(bindings.graph[link.node]["inputs"])
        if _is_conditioning(bindings, link.node, name)
    }
    if {"positive", "negative"} <= linked.keys():
        return [linked["positive" if link.slot == 0 else "negative"]]
    return list(linked.values())


def _other_text_users(bindings: ParameterBindings, needed: Sequence[str]) -> Iterator[str]:
    """Yield further nodes that use a text: encoders, then text generators, then other nodes with a prompt."""
    with_text = [id for id in needed if bindings.node_inputs(id) and _text_inputs(bindings, id)]
    encoders = [id for id in with_text if "CONDITIONING" in output_types(bindings.node_facts(id))]
    generators = [
        id
        for id in with_text
        if id not in encoders and any(item.type == "CLIP" for item in bindings.node_inputs(id).values())
    ]
    yield from encoders
    yield from generators
    yield from (id for id in with_text if "prompt" in bindings.node_inputs(id))


def _bind_texts(bindings: ParameterBindings, name: str, id: str) -> None:
    """Bind the texts of an encoder: the first, and those for further towers, to the parameter `name`.

    Any other text, such as lyrics, becomes a parameter of its own.
    """
    inputs = _text_inputs(bindings, id)
    bound = any(InputRef(id, input) in bindings.expressions for input in inputs)
    for input in inputs:
        place = _find_text(bindings, id, input)
        if place is None:
            continue
        if not bound:
            bound = bindings.bind(name, place) or bound
        elif input in _TEXT_ENCODER_INPUTS:
            bindings.bind(name, place, f"{{{{ {name} }}}}")
        elif (
            _PARAMETER_NAME_PATTERN.fullmatch(input) and name == "prompt" and input not in bindings.parameters
        ):
            bindings.bind(input, place)


def _bind_secondary(bindings: ParameterBindings, id: str) -> None:
    """Bind the text of a further conditioning: `prompt` if it is the same, else `prompt2`, `prompt3`, ..."""
    places = (_find_text(bindings, id, input) for input in _text_inputs(bindings, id))
    place = next((place for place in places if place is not None), None)
    if place is None or bindings.bind("prompt", place) or not str(bindings.literal_at(place)).strip():
        return
    number = next(at for at in count(2) if f"prompt{at}" not in bindings.parameters)
    bindings.bind(f"prompt{number}", place)


def _text_inputs(bindings: ParameterBindings, id: str) -> list[str]:
    """Return the inputs of a node that are texts of several lines; else those that are named like one."""
    strings = [
        name
        for name in _string_inputs(bindings, id)
        if not _AUXILIARY_INPUT.search(name) and not _is_negative(name)
    ]
    inputs = bindings.node_inputs(id)
    options = {name: inputs[name].options for name in strings if name in inputs}
    long = [name for name, each in options.items() if each.get("multiline") or each.get("dynamicPrompts")]
    return long or [name for name in strings if _TEXT_INPUT.search(name)]


def _named_negative(bindings: ParameterBindings, id: str) -> list[str]:
    return [name for name in _string_inputs(bindings, id) if _is_negative(name)]


def _string_inputs(bindings: ParameterBindings, id: str) -> list[str]:
    """Return the inputs of a node that take texts; of an unknown class, those that have one or are linked."""
    inputs = bindings.node_inputs(id)
    if inputs:
        return [name for name, item in inputs.items() if item.type == "STRING"]
    values = bindings.graph[id]["inputs"]
    return [name for name, value in values.items() if isinstance(value, str) or parse_link(value)]


def _find_text(bindings: ParameterBindings, id: str, name: str) -> InputRef | None:
    """Return the literal that callers would write to set a text; None if it is computed from none."""
    value = bindings.graph[id]["inputs"].get(name)
    if isinstance(value, str):
        return InputRef(id, name)
    link = parse_link(value)
    if link is None:
        return None
    found = list(_text_sources(bindings, link))
    best = max(found, key=lambda source: _rank(bindings, source), default=None)
    if best is None:
        return None
    if len(found) > 1:
        rest = len(found) - 1
        bindings.notes.append(
            f"whether the text of node {best.place.node} is the prompt: it is joined with {rest} other"
            f" text{'s' if rest > 1 else ''}, which stay fixed"
        )
    return best.place


def _rank(bindings: ParameterBindings, source: _TextSource) -> tuple[int, ...]:
    """Return how likely callers are to write a text; later numbers decide between equals."""
    title = _title(bindings, source.place.node)
    return (
        bool(source.text.strip()) and not source.is_template,
        not _AUXILIARY_TITLE.search(f"{title} {source.placeholder}"),
        bool(_USER_WORD.search(source.placeholder)),
        bool(_USER_WORD.search(title)),
        not _STYLE_WORD.search(source.text),
        len(source.text),
    )


def _text_sources(bindings: ParameterBindings, start: Link) -> Iterator[_TextSource]:
    """Yield all literal texts that an output is made of, nearest first."""
    waiting = [(start.node, "")]
    seen: set[str] = set()
    for id, placeholder in waiting:  # grows while it is walked
        if id in seen or id not in bindings.graph or len(seen) >= _MAX_SOURCES:
            continue
        seen.add(id)
        inputs = bindings.graph[id]["inputs"]
        replaced = inputs.get("find") if isinstance(inputs.get("find"), str) else ""
        for name, value in inputs.items():
            link = parse_link(value)
            # A text that replaces nothing but a word is no prompt, unless the word is a placeholder.
            is_replacement = name == "replace" and bool(replaced)
            if not is_replacement and not _carries_text(bindings, id, name):
                continue
            mark = replaced if is_replacement else placeholder
            if link is not None and _hands_on_text(bindings, link):
                waiting.append((link.node, mark))
            elif isinstance(value, str) and (not is_replacement or replaced in str(inputs.get("string"))):
                is_template = "regex_pattern" in inputs or (bool(replaced) and replaced in value)
                yield _TextSource(InputRef(id, name), value, mark, is_template)


def _carries_text(bindings: ParameterBindings, id: str, name: str) -> bool:
    """Return whether an input of a text node may carry the text that the node hands on."""
    if _AUXILIARY_INPUT.search(name) or _is_negative(name):
        return False
    inputs = bindings.node_inputs(id)
    if name in inputs:
        return _accepts_text(inputs[name]) and inputs[name].choices is None
    is_linked = parse_link(bindings.graph[id]["inputs"][name]) is not None
    return is_linked or _TEXT_INPUT.search(name) is not None


def _hands_on_text(bindings: ParameterBindings, link: Link) -> bool:
    """Return whether an output may be a text; that of an unknown class may be any."""
    types = output_types(bindings.node_facts(link.node)) if link.node in bindings.graph else []
    return not types or (link.slot < len(types) and types[link.slot] in ("STRING", ANY_TYPE))


def _accepts_text(item: NodeInput) -> bool:
    return bool({"STRING", ANY_TYPE} & set(item.type.split(",")))


def _title(bindings: ParameterBindings, id: str) -> str:
    return str(bindings.graph[id].get("_meta", {}).get("title") or "")
