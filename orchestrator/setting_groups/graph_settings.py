"""The settings of callers' own graphs; a part of `Settings`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, NoDecode


class GraphSettings(BaseSettings):
    """What a graph of a caller may hold and cost."""

    graph_allowed_classes: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Node classes that callers' own graphs may hold besides those of ComfyUI's core,"
        " separated by commas: of node packs, or of the list of denied ones.",
    )
    graph_max_seconds: float = Field(
        600,
        ge=1,
        le=86400,
        description="Longest run of a caller's own graph, in seconds; so much is held at most.",
    )
    graph_max_nodes: int = Field(500, ge=1, le=10_000, description="Most nodes of a caller's own graph.")
    graph_max_side: int = Field(
        4096, ge=64, le=16384, description="Most pixels of one side in a caller's own graph."
    )
    graph_max_steps: int = Field(200, ge=1, le=10_000, description="Most steps of a sampler in it.")
    graph_max_batch: int = Field(16, ge=1, le=4096, description="Most images of a batch in it.")
    graph_max_frames: int = Field(500, ge=1, le=16384, description="Most frames of a video in it.")
    graph_max_megapixels: int = Field(
        2048,
        ge=1,
        le=1_000_000,
        description="Most megapixels that one node in it makes, of all its images; each takes 12 MB.",
    )
    graph_file_bytes: int = Field(
        2 * 2**30, ge=0, description="Bytes of uploaded files for own graphs that an account may keep."
    )
    graph_file_count: int = Field(
        1000, ge=0, description="Uploaded files for own graphs that an account may keep."
    )
