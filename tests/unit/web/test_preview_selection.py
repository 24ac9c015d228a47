"""A stream shows the scheduled previews of each shard, also to a slow reader."""

from __future__ import annotations

from orchestrator.jobs.events import EventHub, ShardPreview, ShardProgress, ShardStarted
from orchestrator.web.dialects.openai.preview_stream import PreviewSelection, SelectedPreview


def sample(hub: EventHub, steps: int, shard: int = 0) -> None:
    """Publish all events of a run at once."""
    hub.publish("job", ShardStarted(index=shard, shard_id="s", instance_id="i", attempt=1))
    for step in range(1, steps + 1):
        progress = ShardProgress(index=shard, node_id="n", value=step, maximum=steps, fraction=step / steps)
        hub.publish("job", progress)
        hub.publish("job", ShardPreview(index=shard, content_type="image/jpeg", data=bytes([step])))


async def collect(previews: PreviewSelection) -> list[tuple[int, int, int]]:
    """Return shard, index and step of all selected previews."""
    previews.close()
    return [
        (event.index, event.preview_index, event.data[0])
        async for event in previews
        if isinstance(event, SelectedPreview)
    ]


async def test_keeps_all_scheduled_previews_for_a_slow_reader() -> None:
    hub, previews = EventHub(), PreviewSelection(3)
    with hub.subscribe("job", previews):
        sample(hub, 20)
    assert await collect(previews) == [(0, 0, 5), (0, 1, 10), (0, 2, 15)]


async def test_schedules_previews_by_shard() -> None:
    hub, previews = EventHub(), PreviewSelection(1)
    with hub.subscribe("job", previews):
        sample(hub, 4)
        sample(hub, 10, shard=1)
    assert await collect(previews) == [(0, 0, 2), (1, 0, 5)]


async def test_selects_nothing_if_no_partial_images_are_requested() -> None:
    hub, previews = EventHub(), PreviewSelection(0)
    with hub.subscribe("job", previews):
        sample(hub, 20)
    assert await collect(previews) == []
