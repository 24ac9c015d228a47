"""The settings of loading models ahead of requests; a part of `Settings`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings


class WarmingSettings(BaseSettings):
    """Which instances load models before requests need them, and when."""

    warm: Literal["off", "gpu", "all"] = Field(
        "gpu",
        description="Instances that load what requests are likely to ask for while they are idle: `gpu` for"
        " own ones with a GPU, `all` for adopted ones, the CPU and simulators too, or `off`.",
    )
    warm_idle_seconds: float = Field(
        20, ge=0, description="How long an instance must be idle before it loads a model ahead."
    )
