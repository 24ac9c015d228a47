"""Tasks of a request, and names that stand for a different model in each task.

Callers of other APIs use one name for everything: `gpt-image-1` makes images, edits them and fills masks. A
stand-in or an alias may therefore name a model per task.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType

from pydantic import Field, model_validator

from orchestrator.catalog.parameters.values import StrictModel
from orchestrator.errors import InvalidRequest


class Task(StrEnum):
    """What a request wants; the values are keys of the table of stand-ins."""

    GENERATE = "generate"  #: images from a prompt
    EDIT = "edit"  #: images from images and a prompt
    MASK = "mask"  #: images from an image with a masked area
    VARIATION = "variation"  #: images from an image, without a prompt
    VIDEO = "video"  #: a video from a prompt
    IMAGE_VIDEO = "image_video"  #: a video from an image


#: The task whose model is used where a name has none of its own; `model` is the last resort.
_BROADER_TASKS: Mapping[Task, Task] = MappingProxyType(
    {Task.MASK: Task.EDIT, Task.VARIATION: Task.EDIT, Task.IMAGE_VIDEO: Task.VIDEO}
)
#: Tasks of requests without an input image.
_WITHOUT_IMAGE = frozenset({Task.GENERATE, Task.VIDEO})


class TaskModels(StrictModel):
    """Models of the catalog by task, by id or alias."""

    #: For all tasks that have no model of their own.
    model: str | None = None
    generate: str | None = None
    edit: str | None = None
    mask: str | None = None
    variation: str | None = None
    video: str | None = None
    image_video: str | None = None
    #: Size and length of a video for which a request sets none; None for those of the model.
    size: str | None = Field(None, pattern=r"^[1-9][0-9]{1,4}x[1-9][0-9]{1,4}$")
    seconds: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _require_a_model(self) -> TaskModels:
        if not any(True for _ in self.names()):
            raise ValueError(f"must have `model` or one of {', '.join(Task)}")
        return self

    def find(self, task: Task) -> str | None:
        """Return the name of the model for a task; None if there is none."""
        name: str | None = getattr(self, task)
        broader = _BROADER_TASKS.get(task)
        return name or (self.find(broader) if broader else self.model)

    def names(self) -> Iterator[str]:
        """Yield the names of all models, the one for no special task first."""
        for name in (self.model, *(getattr(self, task) for task in Task)):
            if name:
                yield name

    def with_names(self, ids: Mapping[str, str]) -> TaskModels:
        """Return the same models under other names."""
        named = {field: ids[name] for field, name in self.by_field().items()}
        return TaskModels(**named, size=self.size, seconds=self.seconds)

    def by_field(self) -> dict[str, str]:
        """Return the names that are set, by `model` or task."""
        fields = ("model", *Task)
        return {field: name for field in fields if (name := getattr(self, field))}


def find_tasks(*, image_count: int, has_mask: bool = False, has_prompt: bool = True) -> tuple[Task, ...]:
    """Return the tasks of a request whose result may be an image or a video, the likeliest first."""
    if not image_count:
        return Task.GENERATE, Task.VIDEO
    if has_mask:
        return (Task.MASK,)
    return (Task.EDIT if has_prompt else Task.VARIATION), Task.IMAGE_VIDEO


def unserved_task_error(name: str, task: Task, served: Collection[Task]) -> InvalidRequest:
    """Return the error for a task that a name has no model for, with what the request lacks or must omit."""
    text = f"Model {name} does not serve this request ({task}); it serves: {', '.join(served)}."
    if task not in _WITHOUT_IMAGE:
        hint = "Omit the `mask`" if task is Task.MASK else "It takes no `image`"
        return InvalidRequest(f"{text} {hint}", code="unsupported_model", param="model")
    if served and not _WITHOUT_IMAGE & {*served}:
        return InvalidRequest(f"{text} `image` is required", code="missing_image", param="image")
    return InvalidRequest(text.rstrip("."), code="unsupported_model", param="model")
