"""The settings of the data directory and of the directories of models; a part of `Settings`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings

from orchestrator.ray_settings import USER_DATA_DIR

SHIPPED_WORKFLOWS_DIR = Path(__file__).resolve().parent.parent / "workflows"


class DirectorySettings(BaseSettings):
    """Where the service keeps its data and finds its models."""

    data_dir: Path = Field(
        USER_DATA_DIR / "data",
        description="Directory of the database, the embedded S3 server, instances and logs.",
    )
    workflows_dir: Path = Field(SHIPPED_WORKFLOWS_DIR, description="Directory of the models (workflows).")
    published_dir: Path | None = Field(
        None,
        description="Directory of imported and published models, over those of workflows_dir; default:"
        " workflows_dir if that is set, else `workflows` in data_dir.",
    )

    @property
    def uses_shipped_models(self) -> bool:
        """Whether workflows_dir is the directory that ships with the service, which is never written to."""
        return self.workflows_dir.resolve() == SHIPPED_WORKFLOWS_DIR

    @property
    def published_path(self) -> Path:
        """Directory that models are written to."""
        if self.published_dir is not None:
            return self.published_dir
        return self.data_dir / "workflows" if self.uses_shipped_models else self.workflows_dir

    @property
    def has_shared_models(self) -> bool:
        """Whether the operator has named a directory in which all processes find published models."""
        return self.published_dir is not None
