"""The validation errors of `POST /prompt`, in ComfyUI's format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_instances.simulator.validation.input_specs import InputSpec

PromptError = dict[str, Any]

#: Longer option lists are omitted from error messages.
MAX_QUOTED_CHOICES = 20


def prompt_error(error_type: str, message: str, details: str = "", **extra_info: Any) -> PromptError:
    return {"type": error_type, "message": message, "details": details, "extra_info": extra_info}


def no_prompt() -> PromptError:
    return prompt_error("no_prompt", "No prompt provided", "No prompt provided")


def invalid_prompt_id() -> PromptError:
    return prompt_error(
        "invalid_prompt_id",
        "prompt_id must be a valid UUID",
        "not a UUID in canonical lowercase hyphenated form",
    )


def missing_node_type(node_id: str, node: Mapping[str, Any]) -> PromptError:
    class_type = node.get("class_type")
    title = node.get("_meta", {}).get("title", class_type)
    if class_type is None:
        message = f"Node '{title or f'ID #{node_id}'}' has no class_type."
    else:
        message = f"Node '{title}' not found."
    info = {"node_id": node_id, "class_type": class_type, "node_title": title}
    return prompt_error("missing_node_type", message, f"Node ID '#{node_id}'", **info)


def prompt_no_outputs() -> PromptError:
    return prompt_error("prompt_no_outputs", "Prompt has no outputs")


def prompt_outputs_failed_validation(errors: list[PromptError]) -> PromptError:
    details = "\n".join(f"{reason['message']}: {reason['details']}" for reason in errors)
    return prompt_error("prompt_outputs_failed_validation", "Prompt outputs failed validation", details)


def required_input_missing(spec: InputSpec) -> PromptError:
    details = spec.name.rsplit(".", 1)[-1]
    return prompt_error("required_input_missing", "Required input is missing", details, input_name=spec.name)


def bad_linked_input(spec: InputSpec, value: Any) -> PromptError:
    return prompt_error(
        "bad_linked_input",
        "Bad linked input, must be a length-2 list of [node_id, slot_index]",
        spec.name,
        **_input_info(spec, value),
    )


def return_type_mismatch(spec: InputSpec, link: list[Any], received: Any) -> PromptError:
    return prompt_error(
        "return_type_mismatch",
        "Return type mismatch between linked nodes",
        f"{spec.name}, received_type({received}) mismatch input_type({spec.type})",
        input_name=spec.name,
        input_config=spec.config,
        received_type=received,
        linked_node=link,
    )


def invalid_input_type(spec: InputSpec, value: Any, error: Exception) -> PromptError:
    return prompt_error(
        "invalid_input_type",
        f"Failed to convert an input value to a {spec.type} value",
        f"{spec.name}, {value}, {error}",
        **_input_info(spec, value),
        exception_message=str(error),
    )


def value_smaller_than_min(spec: InputSpec, value: Any) -> PromptError:
    message = f"Value {value} smaller than min of {spec.options['min']}"
    return prompt_error("value_smaller_than_min", message, spec.name, **_input_info(spec, value))


def value_bigger_than_max(spec: InputSpec, value: Any) -> PromptError:
    message = f"Value {value} bigger than max of {spec.options['max']}"
    return prompt_error("value_bigger_than_max", message, spec.name, **_input_info(spec, value))


def value_not_in_list(spec: InputSpec, value: Any, choices: list[Any]) -> PromptError:
    long = len(choices) > MAX_QUOTED_CHOICES
    listed = f"(list of length {len(choices)})" if long else str(choices)
    about = _input_info(spec, value) | ({"input_config": None} if long else {})
    details = f"{spec.name}: {value!r} not in {listed}"
    return prompt_error("value_not_in_list", "Value not in list", details, **about)


def custom_validation_failed(input_name: str, reason: str) -> PromptError:
    message = "Custom validation failed for node"
    return prompt_error(
        "custom_validation_failed", message, f"{input_name} - {reason}", input_name=input_name
    )


def dependency_cycle(node_id: str, path: str, node_ids: list[str]) -> PromptError:
    message = "Dependency cycle detected"
    return prompt_error("dependency_cycle", message, path, node_id=node_id, cycle_nodes=node_ids)


def exception_during_validation(error: Exception) -> PromptError:
    return prompt_error(
        "exception_during_validation", "Exception when validating node", str(error), **_exception_info(error)
    )


def exception_during_inner_validation(spec: InputSpec, link: list[Any], error: Exception) -> PromptError:
    return prompt_error(
        "exception_during_inner_validation",
        "Exception when validating inner node",
        str(error),
        input_name=spec.name,
        input_config=spec.config,
        exception_message=str(error),
        linked_node=link,
        **_exception_info(error),
    )


def _input_info(spec: InputSpec, value: Any) -> dict[str, Any]:
    return {"input_name": spec.name, "input_config": spec.config, "received_value": value}


def _exception_info(error: Exception) -> dict[str, Any]:
    name = type(error).__name__
    return {"exception_type": name, "traceback": [f"  {name} in validation\n"]}
