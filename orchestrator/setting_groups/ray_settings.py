"""The settings of a fleet on a Ray cluster; a part of `Settings`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from orchestrator.files.user_directories import USER_DATA_DIR
from orchestrator.setting_groups.warming_settings import WarmingSettings

#: A card as Ray names it, and its memory in GB.
_NODE_TYPE = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]*)=([0-9]{1,4}(?:\.[0-9]+)?)")


class RaySettings(WarmingSettings):
    """Where the cluster is, how many instances it runs, and what their nodes need."""

    ray_address: str | None = Field(
        None,
        description="Address of a Ray cluster whose GPUs run the instances, such as `10.0.0.5:6379` or"
        " `ray://ray-head:10001`; unset: they run on this machine.",
    )
    ray_namespace: str = Field(
        "pixelfactory",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
        description="Ray namespace of the instances; services in the same namespace share them.",
    )
    ray_min_instances: int = Field(
        1,
        ge=0,
        description="Smallest number of instances on a Ray cluster; 0 gives the last node back when no work"
        " comes. See ray_node_types.",
    )
    ray_max_instances: int = Field(64, ge=1, description="Largest number of instances on a Ray cluster.")
    ray_autoscale: bool = Field(
        False,
        description="Follow the demand: request nodes from Ray's autoscaler and give idle ones back."
        " Otherwise every GPU of the cluster gets an instance.",
    )
    ray_node_types: Annotated[dict[str, float], NoDecode] = Field(
        {},
        description="Cards of nodes that Ray's autoscaler can add, with their memory in GB, in order of"
        " preference, such as `L40S=48,H100=80`: jobs of models that fit one of them wait for a node, even"
        " while the cluster has none, instead of being refused. Needs ray_autoscale.",
    )
    ray_target_wait_seconds: float = Field(
        60, gt=0, description="Time within which waiting work should be done, by which nodes are requested."
    )
    ray_idle_seconds: float = Field(
        300, ge=0, description="How long fewer instances must suffice before some are ended."
    )
    ray_node_dir: Path = Field(
        USER_DATA_DIR / "ray", description="Directory of the instances on each node of a Ray cluster."
    )
    ray_models: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Models whose weights every node of a Ray cluster pulls before it takes work, separated"
        " by commas; `*` for all. Empty: the weights are on the nodes already.",
    )
    ray_weights_mirror: bool = Field(
        False,
        description="Nodes pull weights from the bucket first (see `pixelfactory weights mirror`), then from"
        " the hub.",
    )

    @field_validator("ray_node_types", mode="before")
    @classmethod
    def _parse_node_types(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        found = {}
        for item in filter(None, (part.strip() for part in value.split(","))):
            match = _NODE_TYPE.fullmatch(item)
            if match is None or not float(match[2]):
                raise ValueError(f"must be cards with their GB, like `L40S=48,H100=80` (got {item!r})")
            found[match[1]] = float(match[2])
        return found
