"""All settings, read once into one frozen object.

Precedence: command-line flags, then environment (`PIXELFACTORY_*`), then the TOML file given with
`--config` (same names in lower case without the prefix), then the defaults below.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

USER_DATA_DIR = user_data_path("pixelfactory")
SHIPPED_WORKFLOWS_DIR = Path(__file__).resolve().parent.parent / "workflows"
MIB = 2**20


class SettingsError(Exception):
    """A setting is missing, unknown or of the wrong kind; the text names it."""


class Settings(BaseSettings):
    """What the operator may choose. Sizes are bytes, durations seconds."""

    model_config = SettingsConfigDict(env_prefix="PIXELFACTORY_", frozen=True, extra="forbid")

    data_dir: Path = Field(
        USER_DATA_DIR / "data", description="Database, embedded S3, instance directories, logs."
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    public_url: str | None = Field(None, description="Address under which callers reach the service.")
    database_url: str | None = Field(None, description="`sqlite:///PATH`; default: a file under data_dir.")
    workflows_dir: Path = Field(SHIPPED_WORKFLOWS_DIR, description="Where the models live.")
    stand_ins_file: Path | None = Field(
        None,
        description="Models that stand in for proprietary ones; default: `stand-ins.toml` beside the models.",
    )
    admin_token: SecretStr | None = Field(
        None, description="Token of the admin API; made in DATA_DIR/admin-token when unset."
    )

    tariffs_dir: Path | None = Field(None, description="Price lists (`*.toml`); default: those that ship.")
    plans_file: Path | None = Field(None, description="Plans; default: those that ship.")
    costs_file: Path | None = Field(None, description="The operator's costs; default: those that ship.")
    payment_secret: SecretStr | None = Field(
        None, description="Secret of the payment provider's webhook; unset: none is believed."
    )
    limits_url: str = Field(
        "memory://", description="Where request counts are kept; `redis://HOST:PORT/DB` where shared."
    )
    failures_per_minute: int = Field(
        60, ge=1, description="Requests with a wrong key that one address may make."
    )
    trusted_proxies: int = Field(
        0, ge=0, description="Proxies in front of the service that set X-Forwarded-For."
    )
    allow_private_urls: bool = Field(
        False, description="Let callers' URLs reach private addresses; for development."
    )

    moderation_file: Path | None = Field(
        None, description="Words and patterns that prompts must not have: `*.toml`, or a text of words."
    )
    moderation_url: str | None = Field(
        None, description="A service with OpenAI's `/v1/moderations`, which is asked about every prompt."
    )
    moderation_key: SecretStr | None = Field(None, description="Its key.")
    moderation_model: str | None = Field(None, description="Its model; default: its own choice.")
    moderation_seconds: float = Field(5, gt=0, description="How long it may take to answer.")
    moderation_fail_open: bool = Field(
        False, description="Let requests pass while it is away; else they are refused with 503."
    )
    output_check: str | None = Field(
        None,
        description="Classifier that every picture must pass, a file below `classifiers/`; unset: none.",
    )
    output_check_labels: str = Field("nsfw", description="Its labels that are refused, with commas.")
    output_check_threshold: float = Field(0.5, gt=0, le=1, description="Probability that is refused.")

    s3_endpoint: str | None = Field(None, description="URL of an S3 server; unset starts an embedded one.")
    s3_access_key: SecretStr | None = Field(None, description="Its access key.")
    s3_secret_key: SecretStr | None = Field(None, description="Its secret key.")
    s3_bucket: str = Field("pixelfactory", description="Bucket for inputs and outputs.")
    s3_region: str = Field("us-east-1", description="Region used in signatures.")
    s3_public_endpoint: str | None = Field(None, description="URL callers use for presigned links.")

    instances: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="URLs of running ComfyUI servers to adopt, separated by commas."
    )
    simulate: int = Field(0, ge=0, le=64, description="Number of simulated instances to force.")
    simulator_time_scale: float = Field(
        0.1, ge=0, description="Simulated seconds per real second of a Blackwell card."
    )
    comfyui_dir: Path = Field(USER_DATA_DIR / "comfyui", description="Where `comfyui install` puts ComfyUI.")
    cpu_instances: int = Field(
        1, ge=1, le=64, description="Number of real instances on a machine without a GPU."
    )
    models_dir: Path = Field(USER_DATA_DIR / "models", description="Weights, shared by all local instances.")

    max_body_bytes: int = Field(96 * MIB, gt=0, description="Largest request body.")
    max_image_bytes: int = Field(50 * MIB, gt=0, description="Largest input image, decoded from base64.")
    max_image_pixels: int = Field(64_000_000, gt=0, description="Largest input image in pixels.")
    input_url_seconds: float = Field(
        20, gt=0, description="How long fetching an input that is given by its URL may take."
    )
    max_dataset_bytes: int = Field(
        128 * MIB, gt=0, description="Largest dataset to train on; unpacked it may be twice as large."
    )
    max_dataset_pictures: int = Field(1000, gt=0, description="Most pictures in it.")
    dataset_url_seconds: float = Field(
        120, gt=0, description="How long fetching a dataset that is given by its URL may take."
    )
    url_lifetime_seconds: int = Field(3600, ge=1, le=604800, description="Life of a presigned URL.")
    output_lifetime_days: float = Field(
        7, gt=0, description="Days after which a finished job is gone and its files are deleted."
    )
    store_patience_seconds: float = Field(
        600, ge=0, description="How long a finished picture waits for an S3 that is away."
    )
    max_attempts: int = Field(4, ge=1, description="Runs of one shard before its job fails.")
    stall_seconds: float = Field(
        300, gt=0, description="Least silence after which a run that began is taken for hung."
    )
    max_wait_seconds: float = Field(
        1800, gt=0, description="Expected wait beyond which new requests are refused with 503."
    )
    batch_wait_seconds: float = Field(
        60, ge=0, description="How long Pixazo's batches wait for a result that no webhook is told of."
    )
    max_job_seconds: float = Field(
        86400, gt=0, description="Age at which a job that has not begun everything fails."
    )
    startup_seconds: float = Field(120, gt=0, description="How long a real instance may take to start.")
    drain_seconds: float = Field(30, ge=0, description="How long SIGTERM waits for running work.")
    public_metrics: bool = Field(True, description="Serve /metrics without a token.")
    log_level: str = Field("INFO", description="Level of the service's log.")

    @field_validator("instances", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(url.strip() for url in value.split(",") if url.strip())
        return value

    @property
    def stand_ins_path(self) -> Path:
        """The table of stand-ins, which need not be there unless it was named. Raises SettingsError."""
        if self.stand_ins_file is None:
            return self.workflows_dir / "stand-ins.toml"
        if not self.stand_ins_file.is_file():
            raise SettingsError(f"PIXELFACTORY_STAND_INS_FILE: no such file: {self.stand_ins_file}")
        return self.stand_ins_file

    @property
    def database_path(self) -> Path:
        """File of the SQLite database. Raises SettingsError for other databases."""
        if self.database_url is None:
            return self.data_dir / "pixelfactory.db"
        scheme, _, path = self.database_url.partition(":///")
        if scheme != "sqlite" or not path:
            raise SettingsError(f"PIXELFACTORY_DATABASE_URL: expected sqlite:///PATH, not {scheme}://...")
        return Path(path)

    @classmethod
    def load(cls, config: Path | None = None, **flags: Any) -> Settings:
        """Settings from flags (None means not given), environment and `config`. Raises SettingsError."""

        class WithFile(cls):  # type: ignore[misc, valid-type]
            @classmethod
            def settings_customise_sources(
                cls, settings_cls: type[BaseSettings], *sources: Any, **named: Any
            ) -> tuple[PydanticBaseSettingsSource, ...]:
                file = TomlConfigSettingsSource(settings_cls, config) if config else None
                found = (named["init_settings"], named["env_settings"], file)
                return tuple(source for source in found if source is not None)

        if config is not None and not config.is_file():
            raise SettingsError(f"no such configuration file: {config}")
        try:
            values = WithFile(**{name: value for name, value in flags.items() if value is not None})
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            raise SettingsError(f"PIXELFACTORY_{name.upper()}: {first['msg']}") from error
        return cls.model_construct(**values.__dict__)
