"""The settings of the data directory and of the directories of models; a part of `Settings`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings

from orchestrator.files.user_directories import DEFAULT_DATA_DIR

SHIPPED_WORKFLOWS_DIR = Path(__file__).resolve().parents[2] / "workflows"


class DirectorySettings(BaseSettings):
    """Where the service keeps its data and finds its models."""

    data_dir: Path = Field(
        DEFAULT_DATA_DIR,
        description="Directory of the database, the embedded S3 server, instances and logs.",
    )
    workflows_dir: Path = Field(SHIPPED_WORKFLOWS_DIR, description="Directory of the models (workflows).")
    published_dir: Path | None = Field(
        None,
        description="Directory of imported and published models, over those of workflows_dir. Default:"
        " workflows_dir if that is set and the database is SQLite, else `workflows` in data_dir. With"
        " PostgreSQL, the database shares the files of the default directory with all processes; one that is"
        " named here must be mounted by all of them.",
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
        is_copy = self.shares_models_in_database or self.uses_shipped_models
        return self.data_dir / "workflows" if is_copy else self.workflows_dir

    @property
    def postgres_url(self) -> str | None:
        """URL of the PostgreSQL database; `Settings` knows it."""
        return None

    @property
    def shares_models_in_database(self) -> bool:
        """Whether published models are in the database, and the directory is this process's copy of them."""
        return self.postgres_url is not None and self.published_dir is None
