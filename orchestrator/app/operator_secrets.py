"""The secrets of operators: configured, or in files of the data directory."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.files.private_files import load_or_create_secret
from orchestrator.logs import hide_secret

if TYPE_CHECKING:
    from pydantic import SecretStr

    from orchestrator.settings import Settings


def load_admin_token(settings: Settings) -> str:
    """Return the configured token, or the one in `DATA_DIR/admin-token`, which the first start creates.

    Raises SettingsError if that file holds an empty or short token."""
    return read_configured(settings.admin_token) or load_or_create_secret(settings.data_dir / "admin-token")


def find_admin_token(settings: Settings) -> str | None:
    """Return the admin token for a command: like `load_admin_token`, but None if there is none yet."""
    exists = settings.admin_token is not None or (settings.data_dir / "admin-token").is_file()
    return load_admin_token(settings) if exists else None


def read_configured(setting: SecretStr | None) -> str | None:
    """Return the secret of a setting, which log lines do not show from now on."""
    if setting is None:
        return None
    secret = setting.get_secret_value()
    hide_secret(secret)
    return secret


@dataclass(frozen=True, slots=True)
class OperatorSecrets:
    """The secrets that protect the admin API and the dashboard."""

    admin_token: str = field(repr=False)
    #: Signs the cookies of dashboard sessions.
    session_secret: str = field(repr=False)

    @property
    def internal_secret(self) -> str:
        """The secret by which the processes of an installation know each other."""
        key = self.session_secret.encode("utf-8", "surrogatepass")
        return hmac.new(key, b"internal routes", hashlib.sha256).hexdigest()


def load_operator_secrets(settings: Settings) -> OperatorSecrets:
    """Return the configured secrets, or those of `DATA_DIR`, which the first start creates.

    Raises SettingsError if one of the files is damaged.
    """
    session_secret = read_configured(settings.session_secret)
    return OperatorSecrets(
        load_admin_token(settings),
        session_secret or load_or_create_secret(settings.data_dir / "session-secret"),
    )
