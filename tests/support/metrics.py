"""One answer of `/metrics`, taken apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.support.service import ServiceProcess


@dataclass(frozen=True)
class Scrape:
    """Families by the name under which they are documented."""

    families: Mapping[str, Metric]

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of a series that have these labels."""
        return sum(
            sample.value
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def labels(self) -> dict[str, set[str]]:
        """Names of labels by series, of all that have a value."""
        found: dict[str, set[str]] = {}
        for family in self.families.values():
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
        return found


def read(text: str) -> Scrape:
    """`_created` series, which tell when a counter began, are left out."""
    families = [
        family for family in text_string_to_metric_families(text) if not family.name.endswith("_created")
    ]
    return Scrape({_documented(family): family for family in families})


async def scrape(service: ServiceProcess, token: str | None = None) -> Scrape:
    async with service.client(token) as http, http.get("/metrics") as response:
        assert response.status == 200
        assert response.content_type == "text/plain"
        return read(await response.text())


async def status(service: ServiceProcess, token: str | None) -> int:
    async with service.client(token) as http, http.get("/metrics") as response:
        return response.status


def _documented(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name
