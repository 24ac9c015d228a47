"""Graphs for the conformance scenarios, and parts of what is compared."""

from __future__ import annotations

import io
import json
from typing import Any

from PIL import Image

from tests.contract.conformance_client import ConformanceClient, Graph, shape


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def enlarged(prefix: str, **scale: Any) -> Graph:
    """A picture of one colour, made larger and saved."""
    factor = {"upscale_method": "nearest-exact", "scale_by": 2.0} | scale
    return {
        "1": node("EmptyImage", width=24, height=16, batch_size=1, color=0x3366CC),
        "2": node("ImageScaleBy", image=["1", 0], **factor),
        "3": node("SaveImage", images=["2", 0], filename_prefix=prefix),
    }


def tedious(prefix: str, color: int) -> Graph:
    """Enough work in enough nodes that there is time to stop it; no two colours share a cache entry."""
    graph = {"1": node("EmptyImage", width=1600, height=1600, batch_size=1, color=color)}
    for index in range(2, 42):
        side = 1600 - index
        scale = {"upscale_method": "lanczos", "width": side, "height": side, "crop": "disabled"}
        graph[str(index)] = node("ImageScale", image=[str(index - 1), 0], **scale)
    graph["save"] = node("SaveImage", images=["41", 0], filename_prefix=prefix)
    return graph


async def emptied(user: ConformanceClient) -> None:
    """Once this has ended, whatever comes next finds the cache emptied that was to be.

    The server looks at such wishes whenever a prompt has ended, or when it gets round to it without one.
    """
    await user.hear_to_end(
        await user.submit(
            {
                "1": node("EmptyImage", width=8, height=8, batch_size=1, color=7),
                "2": node("PreviewImage", images=["1", 0]),
            }
        )
    )


def png(color: tuple[int, ...] = (10, 200, 30), size: tuple[int, int] = (8, 6)) -> bytes:
    out = io.BytesIO()
    Image.new("RGBA" if len(color) == 4 else "RGB", size, color).save(out, "PNG")
    return out.getvalue()


def broken_graphs() -> dict[str, Any]:
    """Name -> a graph that is not, or not wholly, acceptable."""
    good = enlarged("broken")

    def changed(node_id: str, **inputs: Any) -> Graph:
        one = json.loads(json.dumps(good))
        one[node_id]["inputs"] |= inputs
        return dict(one)

    without_input = changed("2")
    del without_input["2"]["inputs"]["scale_by"]
    no_inputs = changed("2")
    del no_inputs["2"]["inputs"]
    nameless = changed("2")
    del nameless["2"]["class_type"]
    half = good | {"4": node("SaveImage", images=["5", 0], filename_prefix="half")}
    half["5"] = node("EmptyImage", width=0, height=16, batch_size=1, color=0)
    return {
        "unknown class": good | {"2": node("NoSuchNode", image=["1", 0])},
        "titled unknown class": good | {"2": node("NoSuchNode") | {"_meta": {"title": "Mine"}}},
        "no class": nameless,
        "missing input": without_input,
        "missing inputs": {"1": node("EmptyImage"), "3": node("SaveImage", images=["1", 0])},
        "wrong link type": changed("3", images=["4", 0])
        | {"4": node("SolidMask", value=1.0, width=8, height=8)},
        "link to nowhere from the output": changed("3", images=["99", 0]),
        "link to nowhere": changed("2", image=["99", 0]),
        "link to a slot that is not there": changed("2", image=["1", 7]),
        "link of one": changed("2", image=["1"]),
        "no inputs": no_inputs,
        "text for a number": changed("1", width="wide"),
        "nothing for a number": changed("1", width=None),
        "above maximum": changed("2", scale_by=9.0),
        "below minimum": changed("1", batch_size=0),
        "not in the list": changed("2", upscale_method="magic"),
        "not in a long list": {
            "1": node("KSamplerSelect", sampler_name="magic"),
            "2": node("PreviewAny", source=["1", 0]),
        },
        "cycle": changed("1") | {
            "1": node("ImageInvert", image=["2", 0]),
            "2": node("ImageInvert", image=["1", 0]),
        },
        "no output": {"1": good["1"]},
        "empty": {},
        "one of two outputs": half,
        "missing file": {
            "1": node("LoadImage", image="none.png"),
            "2": node("PreviewImage", images=["1", 0]),
        },
        "file outside": {
            "1": node("LoadImage", image="../../etc/passwd"),
            "2": node("PreviewImage", images=["1", 0]),
        },
        "weights that are none": {
            "1": node("UpscaleModelLoader", model_name="none"),
            "2": node("ImageUpscaleWithModel", upscale_model=["1", 0], image=["3", 0]),
            "3": good["1"],
            "4": node("SaveImage", images=["2", 0], filename_prefix="x"),
        },
        "member of a group missing": {
            "1": node("BatchImagesNode"),
            "2": node("PreviewImage", images=["1", 0]),
        },
        "choice within a choice": {
            "1": good["1"],
            "2": node("ResizeImageMaskNode", input=["1", 0], scale_method="area", resize_type="scale width",
                      **{"resize_type.width": -1}),
            "3": node("PreviewImage", images=["2", 0]),
        },
        "numbers as texts, and more than asked": changed("2", scale_by="2", bogus=[1, 2, 3]),
    }  # fmt: skip


def entry(history: dict[str, Any]) -> dict[str, Any]:
    """A history entry, reduced to what both servers agree on."""
    number, _, graph, extra, outputs = history["prompt"]
    messages = [[event, shape(data)] for event, data in history["status"]["messages"]]
    return {
        "prompt": [shape(number), sorted(graph), sorted(extra), sorted(outputs)],
        "outputs": shape(history["outputs"]),
        "meta": shape(history["meta"]),
        "status": shape({**history["status"], "messages": messages}),
    }


def texts(heard: list[Any]) -> list[Any]:
    return [message for message in heard if isinstance(message, list)]


def events(heard: list[Any]) -> list[str]:
    """The types of all messages but the binary ones."""
    return [message[0] for message in texts(heard)]
