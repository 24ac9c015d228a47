"""All settings, read once into one frozen object.

Precedence: command-line flags, environment variables (`PIXELFACTORY_*`), the TOML file given with `--config`
(same names in lower case without the prefix), and the defaults below.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    NoDecode,
    SettingsConfigDict,
)

from orchestrator.database_url import (
    check_database_url,
    describe_database,
    find_passwords,
    is_postgres_url,
    sqlite_path,
)
from orchestrator.files.user_directories import USER_DATA_DIR, expand_home
from orchestrator.number_text import NumberTextError, parse_decimal, parse_integer
from orchestrator.setting_errors import SettingsError, check_config_file, describe_invalid_setting
from orchestrator.setting_groups.directory_settings import SHIPPED_WORKFLOWS_DIR, DirectorySettings
from orchestrator.setting_groups.file_settings import FileSettings, config_file
from orchestrator.setting_groups.graph_settings import GraphSettings
from orchestrator.setting_groups.operations_settings import OperationsSettings
from orchestrator.setting_groups.ray_settings import RaySettings
from orchestrator.setting_groups.secret_settings import SecretSettings

__all__ = ["MIB", "SHIPPED_WORKFLOWS_DIR", "LogFormat", "Settings", "SettingsError"]

MIB = 2**20
LogFormat = Literal["text", "json"]
#: What browsers send as `Origin`; extensions have schemes of their own.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


class Settings(
    FileSettings, GraphSettings, RaySettings, SecretSettings, OperationsSettings, DirectorySettings
):
    """Settings of the service. Sizes are in bytes, durations in seconds."""

    model_config = SettingsConfigDict(env_prefix="PIXELFACTORY_", frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 chooses a free port.")
    public_url: str | None = Field(None, description="URL at which callers reach the service.")
    database_url: SecretStr | None = Field(
        None,
        description="URL of the database, `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST:PORT/NAME`;"
        " default: an SQLite file in data_dir.",
    )
    scheduler_url: str | None = Field(
        None,
        description="URL at which API processes reach this scheduler; default: its host and port.",
    )
    database_connections: int = Field(
        12,
        ge=2,
        le=1000,
        description="Most connections of this process to PostgreSQL, besides three that wait.",
    )
    stand_ins_file: Path | None = Field(
        None,
        description="Models that stand in for proprietary ones; default: `stand-ins.toml` in workflows_dir.",
    )

    tariffs_dir: Path | None = Field(
        None, description="Directory of price lists (`*.toml`); default: the shipped ones."
    )
    plans_file: Path | None = Field(None, description="File of plans; default: the shipped one.")
    costs_file: Path | None = Field(
        None, description="File of the operator's costs; default: the shipped one."
    )
    limits_url: str = Field(
        "memory://",
        description="Storage of request counts; `redis://HOST:PORT/DB` to share them between processes.",
    )
    failures_per_minute: int = Field(
        60, ge=1, description="Requests per minute with an invalid API key that are allowed per IP address."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        ("*",),
        description="Origins whose web pages may call the API with an API key, separated by commas; `*`"
        " allows all, an empty value none. The list of models and the documentation stay open to all.",
    )
    trusted_proxies: int = Field(
        0, ge=0, description="Number of proxies in front of the service that set X-Forwarded-For."
    )
    allow_private_urls: bool = Field(
        False, description="Allow URLs of callers to reach private addresses; for development."
    )

    moderation_file: Path | None = Field(
        None,
        description="Forbidden words and patterns in prompts: a `*.toml` file, or a text file of words.",
    )
    moderation_url: str | None = Field(
        None, description="URL of a service with OpenAI's `/v1/moderations`, which checks every prompt."
    )
    moderation_key: SecretStr | None = Field(None, description="API key of the moderation service.")
    moderation_model: str | None = Field(
        None, description="Model of the moderation service; default: its own default."
    )
    moderation_seconds: float = Field(5, gt=0, description="Timeout of a moderation request.")
    moderation_fail_open: bool = Field(
        False,
        description="Accept requests while the moderation service is unavailable, instead of replying 503.",
    )
    output_check: str | None = Field(
        None,
        description="Classifier that every image must pass, a file in `classifiers/`; unset: no check.",
    )
    output_check_labels: str = Field(
        "nsfw", description="Labels of the classifier that are rejected, separated by commas."
    )
    output_check_threshold: float = Field(
        0.5, gt=0, le=1, description="Probability from which a label is rejected."
    )

    s3_endpoint: str | None = Field(
        None, description="URL of an S3 server; if unset, an embedded one is started."
    )
    s3_access_key: SecretStr | None = Field(None, description="Access key of the S3 server.")
    s3_secret_key: SecretStr | None = Field(None, description="Secret key of the S3 server.")
    s3_bucket: str = Field("pixelfactory", description="Bucket for inputs and outputs.")
    s3_region: str = Field("us-east-1", description="Region of the S3 server, used in signatures.")
    s3_public_endpoint: str | None = Field(
        None, description="URL at which callers reach the S3 server; default: s3_endpoint."
    )
    s3_instance_endpoint: str | None = Field(
        None,
        description="URL at which ComfyUI instances reach the S3 server, to which their node pack sends"
        " results; default: s3_endpoint.",
    )
    direct_delivery: bool = Field(
        True,
        description="Whether instances with our node pack store results themselves, while their next prompt"
        " runs, and fetch input files themselves. Instances without it are not concerned.",
    )

    thumbnails: bool = Field(
        True,
        description="Whether thumbnails are made soon after a job succeeds, while the service has little to"
        " do; otherwise when they are looked at.",
    )

    instances: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="URLs of running ComfyUI servers to use, separated by commas."
    )
    simulate: int = Field(
        0, ge=0, le=64, description="Number of simulated instances; 0 uses real ones if possible."
    )
    simulator_time_scale: float = Field(
        0.1,
        ge=0,
        description="Duration of simulated runs as a multiple of their duration on a Blackwell GPU.",
    )
    comfyui_dir: Path = Field(
        USER_DATA_DIR / "comfyui", description="Directory into which `comfyui install` installs ComfyUI."
    )
    cpu_instances: int = Field(
        1, ge=1, le=64, description="Number of real instances on a machine without a GPU."
    )
    models_dir: Path = Field(
        USER_DATA_DIR / "models", description="Directory of model weights, shared by all local instances."
    )

    max_body_bytes: int = Field(
        96 * MIB, gt=0, description="Maximum size of a request body, before and after decompression."
    )
    max_open_files: int = Field(
        65536,
        ge=256,
        description="Limit on open files to ask the system for, as far as its hard limit allows.",
    )
    max_connections: int = Field(
        4096, ge=1, description="Maximum number of HTTP connections, and at most half of the open files."
    )
    max_connections_per_address: int = Field(
        1024,
        ge=1,
        description="Maximum number of HTTP connections per client address; not used with trusted_proxies.",
    )
    header_seconds: float = Field(10, gt=0, description="Timeout for receiving the header of a request.")
    body_seconds: float = Field(
        30,
        gt=0,
        description="Timeout for receiving a body, besides the time for its size at the minimum rate, and for"
        " a silence within it.",
    )
    body_bytes_per_second: int = Field(4096, gt=0, description="Minimum rate of a request body.")
    keepalive_seconds: float = Field(
        75, gt=0, description="How long a connection stays open between two requests."
    )
    write_seconds: float = Field(
        60, gt=0, description="Timeout for a client that does not take a response that is sent to it."
    )
    max_image_bytes: int = Field(
        50 * MIB, gt=0, description="Maximum size of an input image, decoded from base64."
    )
    max_image_pixels: int = Field(64_000_000, gt=0, description="Maximum number of pixels of an input image.")
    input_url_seconds: float = Field(
        20, gt=0, description="Timeout for downloading an input image from a URL."
    )
    max_dataset_bytes: int = Field(
        128 * MIB,
        gt=0,
        description="Maximum size of an input video, or of a training dataset, unpacked twice as large.",
    )
    max_dataset_pictures: int = Field(1000, gt=0, description="Maximum number of images in a dataset.")
    dataset_url_seconds: float = Field(120, gt=0, description="Timeout for downloading a dataset from a URL.")
    url_lifetime_seconds: int = Field(
        3600,
        ge=1,
        le=604800,
        description="Lifetime of the URLs in responses of `images/...` and the dashboard. Those of jobs live"
        " a day.",
    )
    result_links: Literal["service", "redirect"] = Field(
        "service",
        description="How downloads by the URLs of results work: the service sends the files itself"
        " (`service`), or it redirects to presigned URLs at s3_public_endpoint (`redirect`), which callers"
        " must reach and their clients follow.",
    )
    output_lifetime_days: float = Field(
        7, gt=0, description="Days after which finished jobs expire and their files are deleted."
    )
    lora_lifetime_days: float = Field(
        365,
        gt=0,
        le=36_500,
        description="Days after its training for which a LoRA can be used; at least as long as jobs.",
    )
    orphan_grace_seconds: float = Field(
        3600,
        gt=0,
        description="Age from which an object that no job and no running attempt needs is deleted from the"
        " bucket.",
    )
    orphan_sweep_seconds: float = Field(
        600, gt=0, description="Interval at which the bucket is searched for such objects."
    )
    store_patience_seconds: float = Field(
        600, ge=0, description="How long storing an output is retried while the S3 server is unavailable."
    )
    max_attempts: int = Field(
        4, ge=1, description="Maximum number of attempts of a shard before its job fails."
    )
    stall_seconds: float = Field(
        300, gt=0, description="Shortest time without progress after which a run counts as stalled."
    )
    max_wait_seconds: float = Field(
        1800, gt=0, description="Expected wait from which new requests are rejected with 503."
    )
    batch_wait_seconds: float = Field(
        60, ge=0, description="How long Pixazo batch requests without a webhook wait for their result."
    )
    max_job_seconds: float = Field(
        86400, gt=0, description="Age at which a job fails if some of its shards have not started."
    )
    reconcile_seconds: float = Field(
        60,
        gt=0,
        description="Interval at which jobs, holds, attempts and prompts are compared; what does not belong"
        " together at two looks in a row is mended.",
    )
    undelivered_seconds: float = Field(
        600,
        gt=0,
        description="How long a result that could not be sent is kept for a retry of its request; then its"
        " charge is refunded.",
    )
    startup_seconds: float = Field(120, gt=0, description="How long a ComfyUI instance may take to start.")
    drain_seconds: float = Field(
        30, ge=0, description="How long the service waits for running shards after SIGTERM."
    )
    public_metrics: bool = Field(True, description="Serve /metrics without the admin token.")
    log_level: str = Field("INFO", description="Log level of the service.")
    log_format: LogFormat = Field(
        "text", description="Format of the log: `text`, or `json` with one object per line."
    )

    @field_validator("instances", "graph_allowed_classes", "ray_models", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(url.strip() for url in value.split(",") if url.strip())
        return value

    @field_validator("cors_origins")
    @classmethod
    def _require_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Reject what browsers never send as an origin, such as a path: it would allow nothing."""
        origins = tuple(origin.lower().removesuffix("/") for origin in value)
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin[:80]!r} is not an origin; write `*`, or scheme and host such as"
                    " https://app.example.com or http://localhost:3000"
                )
        return origins

    @field_validator("*", mode="before")
    @classmethod
    def _require_plain_digits(cls, value: object, info: ValidationInfo) -> object:
        """Reject spellings of numbers that only Python reads, such as `1_000`."""
        kind = cls.model_fields[str(info.field_name)].annotation
        if kind not in (int, float) or not isinstance(value, str):
            return value
        try:
            return parse_integer(value) if kind is int else float(parse_decimal(value))
        except NumberTextError as error:
            raise ValueError(f"{value[:40]!r} is not {error}") from error

    @field_validator("*", mode="before")
    @classmethod
    def _read_text(cls, value: object, info: ValidationInfo) -> object:
        """Reject a character that no path, address or name may contain; expand `~` in paths."""
        if isinstance(value, str) and "\0" in value:
            raise ValueError("it contains a NUL character; remove it")
        is_path = cls.model_fields[str(info.field_name)].annotation in (Path, Path | None)
        return expand_home(value) if is_path else value

    @field_validator("moderation_key", "s3_access_key", "s3_secret_key")
    @classmethod
    def _require_non_empty_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().strip():
            raise ValueError("the secret is empty; remove the setting or set one")
        return value

    @field_validator("database_url")
    @classmethod
    def _require_known_database(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_database_url(value.get_secret_value())
        return value

    @field_validator("log_level")
    @classmethod
    def _require_known_level(cls, value: str) -> str:
        known = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
        if value.upper() not in known:
            raise ValueError(f"unknown log level {value!r}; use one of {', '.join(known)}")
        return value.upper()

    @property
    def secret_values(self) -> list[str]:
        """The secrets among the settings."""
        values = [getattr(self, name) for name in type(self).model_fields if name != "database_url"]
        secrets = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
        return secrets + (find_passwords(self.postgres_url) if self.postgres_url else [])

    @property
    def stand_ins_path(self) -> Path:
        """File of stand-ins; it may be missing unless it is configured. Raises SettingsError."""
        if self.stand_ins_file is None:
            return self.workflows_dir / "stand-ins.toml"
        if not self.stand_ins_file.is_file():
            raise SettingsError(f"PIXELFACTORY_STAND_INS_FILE: file not found: {self.stand_ins_file}")
        return self.stand_ins_file

    @property
    def postgres_url(self) -> str | None:
        """URL of the PostgreSQL database; None if the database is SQLite's."""
        url = self.database_url and self.database_url.get_secret_value()
        return url if url and is_postgres_url(url) else None

    @property
    def database_path(self) -> Path:
        """File of the SQLite database. Raises SettingsError for other databases."""
        if self.postgres_url is not None:
            raise SettingsError(f"this works with SQLite only, not {describe_database(self.postgres_url)}")
        path = self.database_url and sqlite_path(self.database_url.get_secret_value())
        return path or self.data_dir / "pixelfactory.db"

    @classmethod
    def load(cls, config: Path | None = None, **flags: Any) -> Settings:
        """Read the settings from flags (None: not given), environment and `config`. Raises SettingsError."""
        if config is not None and (problem := check_config_file(config)) is not None:
            raise SettingsError(problem)
        try:
            with config_file(config):
                return cls(**{name: value for name, value in flags.items() if value is not None})
        except ValidationError as error:
            raise SettingsError(describe_invalid_setting(error, flags, config, cls.model_fields)) from error
