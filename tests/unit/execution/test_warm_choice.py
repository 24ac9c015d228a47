"""Which idle instance loads which model ahead of requests."""

from __future__ import annotations

from orchestrator.execution.instances.warm_choice import HALF_LIFE_SECONDS, Demand, choose_warm_run
from orchestrator.execution.scheduler.events import Assignment, InstanceUp, ModelWarming, ShardSpec
from orchestrator.execution.scheduler.instances import Instance


def spec(model: str) -> ShardSpec:
    return ShardSpec(shard_id=f"s-{model}", job_id="", account_id="", model=model, run_seconds=1, vram=1)


def instance(id: str, *loaded: str, busy: bool = False) -> Instance:
    made = Instance(id)
    made.mark_up(InstanceUp(instance_id=id))
    for model in loaded:
        made.record_warming(ModelWarming(instance_id=id, spec=spec(model), phase="loaded"))
    if busy:
        made.assign(
            Assignment(spec=spec("busy"), instance_id=id, expected_seconds=1, load_seconds=0), now=0.0
        )
    return made


def choose(*instances: Instance, **demand: float) -> tuple[str, str] | None:
    found = choose_warm_run(instances, demand, lambda one, model: True)
    return None if found is None else (found.instance_id, found.model)


def test_an_empty_instance_loads_what_is_asked_for_most() -> None:
    assert choose(instance("a"), flux=3.0, wan=1.0) == ("a", "flux")
    assert choose(instance("a")) is None


def test_copies_elsewhere_count_less() -> None:
    assert choose(instance("a"), instance("b", "flux"), flux=3.0, wan=2.0) == ("a", "wan")
    assert choose(instance("a"), instance("b", "flux"), flux=6.0, wan=2.0) == ("a", "flux")


def test_what_is_loaded_is_replaced_only_by_what_is_asked_for_more() -> None:
    assert choose(instance("a", "flux"), flux=2.0, wan=1.0) is None
    assert choose(instance("a", "flux"), flux=1.0, wan=2.0) == ("a", "wan")
    assert choose(instance("a", "flux"), instance("b", "wan", busy=True), flux=1.0, wan=2.0) is None


def test_instances_that_work_or_load_already_are_left_alone() -> None:
    warming = instance("a")
    warming.record_warming(ModelWarming(instance_id="a", spec=spec("flux"), phase="started"))
    assert choose(warming, instance("b", busy=True), flux=1.0) is None
    warming.record_warming(ModelWarming(instance_id="a", spec=spec("flux"), phase="ended"))
    assert choose(warming, flux=1.0) == ("a", "flux")


def test_only_what_an_instance_may_load_is_chosen() -> None:
    found = choose_warm_run([instance("a")], {"flux": 2.0, "wan": 1.0}, lambda one, model: model == "wan")
    assert found is not None
    assert found.model == "wan"


def test_demand_decays_and_old_requests_are_forgotten() -> None:
    demand = Demand()
    demand.record("flux", 0.0)
    demand.record("flux", 0.0)
    demand.record("wan", HALF_LIFE_SECONDS * 2)
    now = HALF_LIFE_SECONDS * 2
    assert demand.by_model(now) == {"flux": 0.5, "wan": 1.0}
    demand.record("flux", 0.0)  # of the history, read later
    assert demand.of("flux", now) == 0.75
    assert demand.by_model(now + 20 * HALF_LIFE_SECONDS) == {}
