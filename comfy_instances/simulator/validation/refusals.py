"""Why a graph is not accepted: the error objects of `POST /prompt`, shaped as ComfyUI shapes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_instances.simulator.validation.input_specs import InputSpec

Refusal = dict[str, Any]

#: Longer option lists are not quoted.
QUOTED_CHOICES = 20


def refusal(kind: str, message: str, details: str = "", **extra_info: Any) -> Refusal:
    return {"type": kind, "message": message, "details": details, "extra_info": extra_info}


def no_prompt() -> Refusal:
    return refusal("no_prompt", "No prompt provided", "No prompt provided")


def bad_prompt_id() -> Refusal:
    return refusal(
        "invalid_prompt_id",
        "prompt_id must be a valid UUID",
        "not a UUID in canonical lowercase hyphenated form",
    )


def missing_node_type(node_id: str, node: Mapping[str, Any]) -> Refusal:
    class_type = node.get("class_type")
    title = node.get("_meta", {}).get("title", class_type)
    if class_type is None:
        message = f"Node '{title or f'ID #{node_id}'}' has no class_type."
    else:
        message = f"Node '{title}' not found."
    info = {"node_id": node_id, "class_type": class_type, "node_title": title}
    return refusal("missing_node_type", message, f"Node ID '#{node_id}'", **info)


def no_outputs() -> Refusal:
    return refusal("prompt_no_outputs", "Prompt has no outputs")


def outputs_failed(reasons: list[Refusal]) -> Refusal:
    details = "\n".join(f"{reason['message']}: {reason['details']}" for reason in reasons)
    return refusal("prompt_outputs_failed_validation", "Prompt outputs failed validation", details)


def input_missing(spec: InputSpec) -> Refusal:
    details = spec.name.rsplit(".", 1)[-1]
    return refusal("required_input_missing", "Required input is missing", details, input_name=spec.name)


def bad_link(spec: InputSpec, value: Any) -> Refusal:
    return refusal(
        "bad_linked_input",
        "Bad linked input, must be a length-2 list of [node_id, slot_index]",
        spec.name,
        **_about(spec, value),
    )


def wrong_link_type(spec: InputSpec, link: list[Any], received: Any) -> Refusal:
    return refusal(
        "return_type_mismatch",
        "Return type mismatch between linked nodes",
        f"{spec.name}, received_type({received}) mismatch input_type({spec.type})",
        input_name=spec.name,
        input_config=spec.config,
        received_type=received,
        linked_node=link,
    )


def not_convertible(spec: InputSpec, value: Any, reason: Exception) -> Refusal:
    return refusal(
        "invalid_input_type",
        f"Failed to convert an input value to a {spec.type} value",
        f"{spec.name}, {value}, {reason}",
        **_about(spec, value),
        exception_message=str(reason),
    )


def too_small(spec: InputSpec, value: Any) -> Refusal:
    message = f"Value {value} smaller than min of {spec.options['min']}"
    return refusal("value_smaller_than_min", message, spec.name, **_about(spec, value))


def too_big(spec: InputSpec, value: Any) -> Refusal:
    message = f"Value {value} bigger than max of {spec.options['max']}"
    return refusal("value_bigger_than_max", message, spec.name, **_about(spec, value))


def not_in_list(spec: InputSpec, value: Any, choices: list[Any]) -> Refusal:
    long = len(choices) > QUOTED_CHOICES
    listed = f"(list of length {len(choices)})" if long else str(choices)
    about = _about(spec, value) | ({"input_config": None} if long else {})
    details = f"{spec.name}: {value!r} not in {listed}"
    return refusal("value_not_in_list", "Value not in list", details, **about)


def failed_own_check(name: str, reason: str) -> Refusal:
    message = "Custom validation failed for node"
    return refusal("custom_validation_failed", message, f"{name} - {reason}", input_name=name)


def cycle(node_id: str, path: str, nodes: list[str]) -> Refusal:
    message = "Dependency cycle detected"
    return refusal("dependency_cycle", message, path, node_id=node_id, cycle_nodes=nodes)


def broke_at_output(error: Exception) -> Refusal:
    return refusal("exception_during_validation", "Exception when validating node", str(error), **_of(error))


def broke_at_link(spec: InputSpec, link: list[Any], error: Exception) -> Refusal:
    return refusal(
        "exception_during_inner_validation",
        "Exception when validating inner node",
        str(error),
        input_name=spec.name,
        input_config=spec.config,
        exception_message=str(error),
        linked_node=link,
        **_of(error),
    )


def _about(spec: InputSpec, value: Any) -> dict[str, Any]:
    return {"input_name": spec.name, "input_config": spec.config, "received_value": value}


def _of(error: Exception) -> dict[str, Any]:
    name = type(error).__name__
    return {"exception_type": name, "traceback": [f"  {name} in validation\n"]}
