"""Takes over changed settings and files while the service runs, as far as that is possible."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from orchestrator.app.build import RunningService
from orchestrator.billing.price_files import load_plans
from orchestrator.logs import configure_logging, hide_secret
from orchestrator.moderation import WordListError, WordListPolicy
from orchestrator.settings import Settings, SettingsError
from pricing.plans import PlanError

log = logging.getLogger(__name__)

#: Settings that take effect at once; the content of `plans_file` and `moderation_file` does too.
RELOADABLE = frozenset({"log_level", "log_format", "plans_file"})


class SettingsReloader:
    """Reads the settings again for a running service; what cannot change meanwhile is named in the log."""

    def __init__(self, settings: Settings, read: Callable[[], Settings]) -> None:
        """`read` reads the settings from where they came from. It raises SettingsError."""
        self._settings = settings
        self._read = read

    async def reload(self, service: RunningService) -> None:
        """Read settings, models, plans and word lists again; an invalid file changes nothing."""
        try:
            new = self._read()
            plans = load_plans(new)
            words = _load_words(new.moderation_file) if self._settings.moderation_file else None
        except (SettingsError, PlanError, WordListError, OSError) as error:
            log.error("nothing was reloaded: %s", error)
            return
        for secret in new.secret_values:
            hide_secret(secret)
        configure_logging(new.log_level, new.log_format)
        service.service.accounts.use_plans(plans)
        if words is not None:
            service.service.moderation.replace_policy(words)
        await service.service.live_catalog.refresh()
        log.info("reloaded log settings, models, price lists, plans and word lists")
        if waiting := sorted(self._changed(new) - RELOADABLE):
            log.warning("changed settings that take effect at the next start: %s", ", ".join(waiting))

    def _changed(self, new: Settings) -> set[str]:
        return {name for name in Settings.model_fields if getattr(new, name) != getattr(self._settings, name)}


def _load_words(file: Path | None) -> WordListPolicy | None:
    return WordListPolicy.load(file) if file is not None else None
