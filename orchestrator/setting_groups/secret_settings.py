"""The settings that hold secrets of the service itself; a part of `Settings`."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from orchestrator.secret_strength import find_weakness


class SecretSettings(BaseSettings):
    """Secrets that protect the service. The ones with a file in the data directory replace that file."""

    admin_token: SecretStr | None = Field(
        None, description="Token of the admin API; generated in DATA_DIR/admin-token if unset."
    )
    session_secret: SecretStr | None = Field(
        None,
        description="Secret that signs dashboard sessions and links to results, and by which the processes of"
        " an installation know each other; generated in DATA_DIR/session-secret if unset.",
    )
    database_key: SecretStr | None = Field(
        None,
        description="Key of the signing secrets in the database; generated in DATA_DIR/database-key if unset."
        " To set it later, set it to the content of that file.",
    )
    payment_secret: SecretStr | None = Field(
        None, description="Secret of the payment provider's webhooks; if unset, they are rejected."
    )

    @field_validator("admin_token", "session_secret", "database_key", "payment_secret")
    @classmethod
    def _require_long_secret(cls, value: SecretStr | None) -> SecretStr | None:
        """Reject a secret that can be guessed, such as the empty one of a variable that is set to nothing."""
        secret = value.get_secret_value().strip() if value is not None else None
        if secret is not None and (weakness := find_weakness(secret)):
            raise ValueError(f"the secret {weakness}; remove the setting or set another one")
        return None if secret is None else SecretStr(secret)

    @property
    def replaced_secret_files(self) -> list[str]:
        """The settings that replace a secret file of the data directory."""
        names = ("admin_token", "session_secret", "database_key")
        return [f"PIXELFACTORY_{name.upper()}" for name in names if getattr(self, name) is not None]
