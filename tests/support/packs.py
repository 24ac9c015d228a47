"""What tests of node packs share."""

from __future__ import annotations

from dataclasses import dataclass, field

from comfy_instances.install.packs.install import PackStep


@dataclass
class RecordingPackReporter:
    """A reporter that remembers."""

    steps: list[PackStep] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def on_step(self, step: PackStep) -> None:
        self.steps.append(step)

    def on_note(self, text: str) -> None:
        self.notes.append(text)

    def on_output(self, line: str) -> None:
        pass
