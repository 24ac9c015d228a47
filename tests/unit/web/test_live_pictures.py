"""Which of a sampler's pictures a stream shows, and that a slow reader misses none of them."""

from __future__ import annotations

from orchestrator.jobs.events import EventHub, ShardPreview, ShardProgress, ShardStarted
from orchestrator.web.dialects.openai.preview_stream import PreviewSelection, SelectedPreview


def sample(hub: EventHub, steps: int, shard: int = 0) -> None:
    """A whole run, told at once."""
    hub.publish("job", ShardStarted(index=shard, shard_id="s", instance_id="i", attempt=1))
    for step in range(1, steps + 1):
        progress = ShardProgress(index=shard, node_id="n", value=step, maximum=steps, fraction=step / steps)
        hub.publish("job", progress)
        hub.publish("job", ShardPreview(index=shard, content_type="image/jpeg", data=bytes([step])))


async def read(picks: PreviewSelection) -> list[tuple[int, int, int]]:
    """Shard, number and step of all that has been picked."""
    picks.close()
    return [
        (event.index, event.preview_index, event.data[0])
        async for event in picks
        if isinstance(event, SelectedPreview)
    ]


async def test_a_slow_reader_misses_nothing() -> None:
    hub, picks = EventHub(), PreviewSelection(3)
    with hub.subscribe("job", picks):
        sample(hub, 20)
    assert await read(picks) == [(0, 0, 5), (0, 1, 10), (0, 2, 15)]


async def test_each_shard_has_its_own() -> None:
    hub, picks = EventHub(), PreviewSelection(1)
    with hub.subscribe("job", picks):
        sample(hub, 4)
        sample(hub, 10, shard=1)
    assert await read(picks) == [(0, 0, 2), (1, 0, 5)]


async def test_who_wants_none_gets_none() -> None:
    hub, picks = EventHub(), PreviewSelection(0)
    with hub.subscribe("job", picks):
        sample(hub, 20)
    assert await read(picks) == []
