"""What licenses of models allow, and the log of those that the operator has accepted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.catalog import Catalog
from orchestrator.catalog.licenses import (
    LicenseUse,
    forbidding_licenses,
    known_terms,
    licenses_of,
    strictest_use,
)
from orchestrator.catalog.publishing.accepted_licenses import AcceptedLicenses, LicenseRecord
from orchestrator.errors import Forbidden
from orchestrator.intake.license_policy import LicensePolicy
from orchestrator.own_graphs.model import own_graph_model
from orchestrator.setting_groups.directory_settings import SHIPPED_WORKFLOWS_DIR

NOT_FOR_SALE = {
    "4x-ultrasharp",
    "creative-upscale",  # by the license of a weight file
    "flux-1-dev",
    "flux-1-dev-image-to-image",
    "flux-1-dev-lora-trainer",
    "flux-1-fill-dev",
    "flux-1-kontext-dev",
    "flux-1-kontext-restore",
    "flux-1-krea-dev",
    "flux-1-outpaint",
    "flux-1-redux-dev",
    "flux-2-dev",
    "flux-2-klein-9b",
}


@pytest.fixture(scope="module")
def shipped() -> Catalog:
    return Catalog.load(SHIPPED_WORKFLOWS_DIR)


def test_knows_the_license_of_every_shipped_model_and_weight(shipped: Catalog) -> None:
    named = {terms.name for model in shipped for terms in licenses_of(model.manifest)}
    assert named <= known_terms().keys()
    assert known_terms().keys() <= named, "a license that no model has"


def test_names_the_models_that_may_not_be_sold(shipped: Catalog) -> None:
    found = {model.id for model in shipped if strictest_use(model.manifest) is LicenseUse.NON_COMMERCIAL}
    assert found == NOT_FOR_SALE
    assert found == {model.id for model in shipped if forbidding_licenses(model.manifest)}


def test_states_revenue_limits_and_attribution(shipped: Catalog) -> None:
    (terms,) = licenses_of(shipped["sd-3.5-large"].manifest)
    assert (terms.use, terms.revenue_limit_usd) == (LicenseUse.CONDITIONS, 1_000_000)
    assert terms.attribution == "Powered by Stability AI"


def test_needs_the_operators_word_for_a_license_that_it_does_not_know(shipped: Catalog) -> None:
    manifest = shipped["flux-1-schnell"].manifest
    assert forbidding_licenses(manifest) == []
    assert forbidding_licenses(manifest.model_copy(update={"license": "Our own"})) == ["Our own"]
    assert forbidding_licenses(manifest.model_copy(update={"license": ""})) == ["not stated"]


def test_acceptance_is_kept_until_revoked_or_the_license_changes(shipped: Catalog, tmp_path: Path) -> None:
    accepted = AcceptedLicenses(tmp_path / "models")
    manifest = shipped["flux-1-dev"].manifest
    names = forbidding_licenses(manifest)
    assert accepted.missing(manifest) == names
    record = LicenseRecord(model="flux-1-dev", licenses=names, note="n. 7 ☂", by="me", at="2026-01-01")
    accepted.add(record)
    assert accepted.missing(manifest) == []
    assert AcceptedLicenses(tmp_path / "models").find("flux-1-dev") == record
    assert accepted.missing(shipped["flux-1-krea-dev"].manifest) == names
    assert accepted.missing(manifest.model_copy(update={"license": "Another"})) == ["Another"]
    accepted.add(replace(record, licenses=[]))
    assert accepted.missing(manifest) == names
    assert [bool(entry.licenses) for entry in accepted.records()] == [True, False]


def test_judges_a_graph_of_a_caller_by_the_weights_that_it_names(shipped: Catalog, tmp_path: Path) -> None:
    policy = LicensePolicy(AcceptedLicenses(tmp_path), True, lambda: shipped)
    for name, is_sold in (("flux-1-dev", False), ("sdxl-1.0", True), ("flux-1-schnell", True)):
        for weight in shipped[name].manifest.weights:
            loader = {"class_type": "UNETLoader", "inputs": {"unet_name": weight.file, "weight_dtype": "fp8"}}
            graph = own_graph_model({"1": loader}, ["1"])
            if is_sold or weight.license not in forbidding_licenses(shipped[name].manifest):
                policy.check(graph, 1, "graph")
            else:
                with pytest.raises(Forbidden, match=r"FLUX\.1"):
                    policy.check(graph, 1, "graph")
                policy.check(graph, 0, "graph")
