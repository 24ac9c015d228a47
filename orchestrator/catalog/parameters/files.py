"""Parameters whose values are files. What a graph gets is the name that the instance knows them by."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from orchestrator.catalog.parameters.declaration import ParameterBase, invalid_param

_FILE_SCHEMA = {"type": "string", "contentEncoding": "base64"}


class ImageParameterBase(ParameterBase):
    """An input picture or mask. Its value is an opaque name: whatever the caller of `render` says
    that the instance knows the uploaded file by. Sides are pixels."""

    min_width: int = Field(16, gt=0)
    min_height: int = Field(16, gt=0)
    max_width: int = Field(8192, gt=0)
    max_height: int = Field(8192, gt=0)

    def validate_dimensions(self, name: str, width: int, height: int) -> None:
        """Raises InvalidRequest for a picture that the model does not take."""
        if width > self.max_width or height > self.max_height:
            limit = f"at most {self.max_width}x{self.max_height}"
        elif width < self.min_width or height < self.min_height:
            limit = f"at least {self.min_width}x{self.min_height}"
        else:
            return
        raise invalid_param(name, f"must be {limit} pixels, not {width}x{height}")

    @staticmethod
    def validate_image_name(name: str, value: object) -> str:
        if not isinstance(value, str) or not value:
            raise invalid_param(name, "must be an image")
        return value


class ImageParameter(ImageParameterBase):
    """One picture."""

    type: Literal["image"]
    default: None = None

    def validate_value(self, name: str, value: object) -> str:
        return self.validate_image_name(name, value)

    def to_json_schema(self) -> dict[str, Any]:
        return dict(_FILE_SCHEMA)


class ImageListParameter(ImageParameterBase):
    """A list of pictures, each under the limits of one."""

    type: Literal["images"]
    default: tuple[()] = ()
    max_items: int = Field(4, gt=0)

    def validate_value(self, name: str, value: object) -> list[str]:
        if not isinstance(value, list | tuple):
            raise invalid_param(name, "must be a list of images")
        if len(value) > self.max_items:
            raise invalid_param(name, f"must have at most {self.max_items} images, not {len(value)}")
        return [self.validate_image_name(name, item) for item in value]

    def to_json_schema(self) -> dict[str, Any]:
        return {"type": "array", "items": dict(_FILE_SCHEMA), "maxItems": self.max_items}


class DatasetParameter(ParameterBase):
    """Pictures, perhaps with captions, to train on. Its value is an opaque name, as a picture's: of the
    folder that the files are in."""

    type: Literal["dataset"]
    default: None = None
    max_items: int = Field(1000, gt=0)

    def validate_value(self, name: str, value: object) -> str:
        if not isinstance(value, str) or not value:
            raise invalid_param(name, "must be a dataset")
        return value

    def validate_image_count(self, name: str, image_count: int) -> None:
        """Raises InvalidRequest for a dataset that the model does not take."""
        if image_count > self.max_items:
            raise invalid_param(name, f"must have at most {self.max_items} pictures, not {image_count}")

    def to_json_schema(self) -> dict[str, Any]:
        return dict(_FILE_SCHEMA)
