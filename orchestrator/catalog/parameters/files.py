"""Parameters whose values are files. What a graph gets is the name that the instance knows them by."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from orchestrator.catalog.parameters.declaration import Declaration, refusal

_FILE_SCHEMA = {"type": "string", "contentEncoding": "base64"}


class Picture(Declaration):
    """An input picture or mask. Its value is an opaque name: whatever the caller of `render` says
    that the instance knows the uploaded file by. Sides are pixels."""

    min_width: int = Field(16, gt=0)
    min_height: int = Field(16, gt=0)
    max_width: int = Field(8192, gt=0)
    max_height: int = Field(8192, gt=0)

    def check_dimensions(self, name: str, width: int, height: int) -> None:
        """Raises InvalidRequest for a picture that the model does not take."""
        if width > self.max_width or height > self.max_height:
            limit = f"at most {self.max_width}x{self.max_height}"
        elif width < self.min_width or height < self.min_height:
            limit = f"at least {self.min_width}x{self.min_height}"
        else:
            return
        raise refusal(name, f"must be {limit} pixels, not {width}x{height}")

    @staticmethod
    def check_one(name: str, value: object) -> str:
        if not isinstance(value, str) or not value:
            raise refusal(name, "must be an image")
        return value


class Image(Picture):
    """One picture."""

    type: Literal["image"]
    default: None = None

    def check(self, name: str, value: object) -> str:
        return self.check_one(name, value)

    def schema_of_value(self) -> dict[str, Any]:
        return dict(_FILE_SCHEMA)


class Images(Picture):
    """A list of pictures, each under the limits of one."""

    type: Literal["images"]
    default: tuple[()] = ()
    max_items: int = Field(4, gt=0)

    def check(self, name: str, value: object) -> list[str]:
        if not isinstance(value, list | tuple):
            raise refusal(name, "must be a list of images")
        if len(value) > self.max_items:
            raise refusal(name, f"must have at most {self.max_items} images, not {len(value)}")
        return [self.check_one(name, item) for item in value]

    def schema_of_value(self) -> dict[str, Any]:
        return {"type": "array", "items": dict(_FILE_SCHEMA), "maxItems": self.max_items}


class Dataset(Declaration):
    """Pictures, perhaps with captions, to train on. Its value is an opaque name, as a picture's: of the
    folder that the files are in."""

    type: Literal["dataset"]
    default: None = None
    max_items: int = Field(1000, gt=0)

    def check(self, name: str, value: object) -> str:
        if not isinstance(value, str) or not value:
            raise refusal(name, "must be a dataset")
        return value

    def check_count(self, name: str, pictures: int) -> None:
        """Raises InvalidRequest for a dataset that the model does not take."""
        if pictures > self.max_items:
            raise refusal(name, f"must have at most {self.max_items} pictures, not {pictures}")

    def schema_of_value(self) -> dict[str, Any]:
        return dict(_FILE_SCHEMA)
