"""Bodies whose fields other projects define: documented by name only."""

from __future__ import annotations

from pydantic import RootModel

from orchestrator.web.http.response_model import ResponseModel


class ComfyUiBody(ResponseModel):
    """A body of ComfyUI's own API, or of Comfy's; the description of the response names its fields."""


class RouterBody(ResponseModel):
    """A body of Comfy Router; the description of the response names its fields."""


class ComfyUiList(RootModel[list[str]]):
    """A list of names."""
