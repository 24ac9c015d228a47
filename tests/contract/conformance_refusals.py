"""Scenarios of what is refused, and of what a server says of itself."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from tests.contract.conformance_client import Graph, client, shape
from tests.contract.conformance_graphs import broken_graphs, enlarged, events, node
from tests.support.early_response import post_zeros


async def refused_graphs(url: str) -> Any:
    answers = {}
    async with client(url) as user:
        for name, graph in broken_graphs().items():
            status, answer = await user.post("/prompt", {"prompt": graph, "client_id": user.client_id})
            answers[name] = [status, _sorted_errors(shape(answer))]
            if status == 200:
                answers[name].append(sorted((await user.finished(answer["prompt_id"]))["outputs"]))
    return answers


def _sorted_errors(answer: dict[str, Any]) -> dict[str, Any]:
    """Errors of one node come in any order."""
    for blamed in answer["node_errors"].values():
        blamed["errors"].sort(key=lambda error: json.dumps(error, sort_keys=True))
    return answer


async def refused_bodies(url: str) -> Any:
    good = enlarged("bodies")
    bodies = {
        "no prompt": {},
        "a list": [],
        "prompt is a list": {"prompt": []},
        "node is a text": {"prompt": {"1": "x"}},
        "number is a text": {"prompt": good, "number": "first"},
        "id is no UUID": {"prompt": good, "prompt_id": "mine"},
        "id in capitals": {"prompt": good, "prompt_id": str(uuid4()).upper()},
        "id is a number": {"prompt": good, "prompt_id": 17},
        "target is no output": {"prompt": good, "partial_execution_targets": ["1"]},
    }
    answers: dict[str, Any] = {}
    async with client(url, connected=False) as user:
        for name, body in bodies.items():
            status, answer = await user.post("/prompt", body)
            answers[name] = [status, shape(answer) if status < 500 else type(answer).__name__]
        for path in ("/prompt", "/queue", "/free", "/history"):
            async with user.http.post(url + path, data=b"{not json") as response:
                answers[f"not JSON: {path}"] = [response.status, response.content_type]
        for path in ("/history/unknown", "/api/jobs/unknown", "/object_info/Unknown", "/models/unknown"):
            status, answer = await user.get(path)
            answers[path] = [status, shape(answer) if isinstance(answer, dict) else len(answer)]
    return answers


async def oversized(url: str) -> Any:
    """Bodies over the limit are refused, large graphs are not."""
    async with client(url) as user:
        chain: Graph = {"0": node("EmptyImage", width=8, height=8, batch_size=1, color=5)}
        for index in range(1, 120):
            chain[str(index)] = node("ImageInvert", image=[str(index - 1), 0])
        chain["save"] = node("SaveImage", images=["119", 0], filename_prefix="chain")
        long = await user.hear_to_end(await user.submit(chain, extra_data={"filler": "x" * 900_000}))
    try:
        response = await post_zeros(f"{url}/prompt", 101 * 2**20)
        refused: Any = [response.status, response.content_type]
    except ConnectionError:
        refused = [413, "text/plain"]
    return {"long": events(long).count("executing"), "refused": refused}


async def origins(url: str) -> Any:
    """Pages from elsewhere may not talk to a server on this machine."""
    port = url.rsplit(":", 1)[1]
    statuses = []
    async with client(url, connected=False) as user:
        for origin in ("http://evil.example", f"http://127.0.0.1:{port}", "http://127.0.0.1", "null"):
            async with user.http.get(f"{url}/queue", headers={"Origin": origin}) as response:
                statuses.append([origin.replace(port, "PORT"), response.status])
    return statuses


async def descriptions(url: str) -> Any:
    async with client(url, connected=False) as user:
        _, stats = await user.get("/system_stats")
        _, features = await user.get("/features")
        _, folders = await user.get("/models")
        _, files = await user.get("/models/gligen")
        _, embeddings = await user.get("/embeddings")
        _, one = await user.get("/object_info/ImageScaleBy")
        _, every = await user.get("/object_info")
        _, prefixed = await user.get("/api/object_info/ImageScaleBy")
    return {
        "system": sorted(stats["system"]), "device": sorted(stats["devices"][0]),
        "version": stats["system"]["comfyui_version"], "features": features, "folders": sorted(folders),
        "files": [files, embeddings], "node": [sorted(one), sorted(one["ImageScaleBy"]["input"]["required"])],
        "core": len(set(every) & {"KSampler", "SaveVideo", "LoadImage"}), "same": one == prefixed,
    }  # fmt: skip
