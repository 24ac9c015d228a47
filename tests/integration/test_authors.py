"""An author's way: draw a graph, import it, have it checked, served and exported."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image, PngImagePlugin

from orchestrator.catalog import load_model
from tests.support.api import list_instances
from tests.support.canvas import api, image, invert, node, save, sdxl, socket, workflow
from tests.support.cli import command
from tests.support.images import png
from tests.support.publishing import graph
from tests.support.service import ROOT, ServiceProcess, running

PICTURE = ROOT / "tests" / "workflows" / "test-image"


def drawn() -> dict[str, Any]:
    """In UI format: a picture of one colour; two of our parameter nodes say what requests set."""
    side = node(
        *(1, "PixelFactoryInteger"),
        gives=["INT"],
        widgets_values=["side", 64, 16, 128, 16, False, "Width and height in pixels."],
    )
    colour = node(
        *(2, "PixelFactoryInteger"),
        gives=["INT"],
        widgets_values=["colour", 0x0000FF, 0, 0xFFFFFF, 1, True, ""],
    )
    inputs = [
        {"name": name, "type": "INT", "link": link, "widget": {"name": name}}
        for name, link in (("width", 1), ("height", 2), ("color", 3))
    ]
    empty = node(3, "EmptyImage", inputs=inputs, gives=["IMAGE"], widgets_values=[512, 512, 1, 0])
    links = [[1, 1, 0, 3, 0, "INT"], [2, 1, 0, 3, 1, "INT"], [3, 2, 0, 3, 2, "INT"], [4, 3, 0, 4, 0, "IMAGE"]]
    return workflow(side, colour, empty, save(4, 4), links=links)


def put(directory: Path, data: Any, name: str = "graph.json") -> str:
    file = directory / name
    file.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    return str(file)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service whose directory of models is the authors'."""
    place = tmp_path_factory.mktemp("authors")
    shutil.copytree(PICTURE, place / "models" / PICTURE.name)
    settings = {"PIXELFACTORY_WORKFLOWS_DIR": str(place / "models")}
    with running(ServiceProcess(place / "data", environment=settings)) as started:
        yield started


async def test_a_drawn_graph_becomes_a_model_of_the_running_service(
    live: ServiceProcess, tmp_path: Path
) -> None:
    file = put(tmp_path, drawn())
    done = await asyncio.to_thread(_command, live, "models", "import", file, "--id", "one-colour", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["bound"] == {
        "3.width": "{{ side }}",
        "3.height": "{{ side }}",
        "3.color": "{{ colour }}",
        "4.filename_prefix": "{{ filename_prefix }}",
    }
    assert told["fixed"] == {"3.batch_size": 1}
    assert told["problems"] == []
    assert told["state"] == "draft"
    side = load_model(Path(told["folder"])).parameters["side"]
    assert (side.default, side.description) == (64, "Width and height in pixels.")

    body = {"model": "one-colour", "colour": 0x00FF00, "side": 32}
    done = await asyncio.to_thread(_command, live, "models", "publish", "one-colour")
    assert (done.returncode, "--license" in done.stderr, "--owner" in done.stderr) == (1, True, True)
    named = ("--license", "mit", "--owner", "us", "--why", "first")
    done = await asyncio.to_thread(_command, live, "models", "publish", "one-colour", *named)
    assert done.returncode == 0, done.stderr
    async with live.client(live.key("1.00")) as http:
        for _ in range(100):
            async with http.post("/api/v1/images/generations", json=body) as response:
                answer = await response.json()
            if response.status == 200:
                break
            assert answer["error"]["code"] in ("model_not_found", "model_unavailable"), answer
            await asyncio.sleep(0.1)
        async with http.post("/api/v1/images/generations", json=body | {"side": 33}) as response:
            assert (await response.json())["error"]["code"] == "invalid_side"
        for path, prompt in (
            ("/api/v1/images/generations", {"model": "one-colour", "prompt": "a fox"}),
            ("/v1/images/generations", {"model": "one-colour", "prompt": "a fox"}),
            ("/api/v1/models/one-colour/run", {"prompt": "a fox"}),
            ("/v1/image/generate", {"model": "one-colour", "prompt": "a fox"}),
        ):
            async with http.post(path, json=prompt) as response:
                # PixelAPI's status for invalid fields is 422.
                assert response.status in (400, 422), (path, await response.text())
    picture = Image.open(io.BytesIO(base64.b64decode(answer["data"][0]["b64_json"])))
    assert picture.size == (32, 32)
    assert picture.convert("RGB").getpixel((0, 0)) == (0, 255, 0)


async def test_a_model_may_answer_a_text(live: ServiceProcess, tmp_path: Path) -> None:
    nodes = {
        "words": ("StringConcatenate", "", {"string_a": "{{ prompt }}", "string_b": "!", "delimiter": ""}),
        "shown": ("PreviewAny", "", {"source": ["words", 0]}),
    }
    folder = live.environment["PIXELFACTORY_WORKFLOWS_DIR"]
    arguments = ("models", "import", put(tmp_path, api(**nodes)), "--id", "echo", "--into", folder, "--json")
    done = await asyncio.to_thread(_command, live, *arguments)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kind"] == "text"
    body = {"model": "echo", "prompt": "a fox", "response_format": "b64_json"}
    async with live.client(live.key("1.00")) as http:
        for _ in range(100):
            async with http.post("/api/v1/images/generations", json=body) as response:
                answer = await response.json()
            if response.status == 200:
                break
            assert answer["error"]["code"] in ("model_not_found", "model_unavailable"), answer
            await asyncio.sleep(0.1)
    assert base64.b64decode(answer["data"][0]["b64_json"]) == b"a fox!"


async def test_import_takes_the_author_s_files_from_comfyui_and_export_writes_them(
    live: ServiceProcess, tmp_path: Path
) -> None:
    data = png(8, 8)
    url = next(iter((await list_instances(live)).values()))["url"]
    async with aiohttp.ClientSession() as http:
        form = aiohttp.FormData()
        form.add_field("image", data, filename="seal.png", content_type="image/png")
        form.add_field("subfolder", "animals")
        assert (await http.post(f"{url}/upload/image", data=form)).status == 200
    graph = api(
        **{
            "1": ("LoadImage", "", {"image": "animals/seal.png"}),
            "2": ("SaveImage", "", {"images": ["1", 0], "filename_prefix": "x"}),
        }
    )
    options = ("--comfyui", url, "--fix", "image")
    file = put(tmp_path, graph)
    done = await asyncio.to_thread(_command, live, "models", "import", file, "--id", "seal", *options)
    assert done.returncode == 0, done.stderr
    assert "Set by requests" not in done.stdout.partition("Fixed")[2]
    assert "1.image = animals/seal.png" in done.stdout.partition("Fixed")[2]
    taken = tmp_path / "taken.json"
    done = await asyncio.to_thread(_command, live, "models", "export", "seal", "-o", str(taken))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "input" / "animals" / "seal.png").read_bytes() == data
    done = await asyncio.to_thread(_command, live, "models", "import", str(taken), "--id", "seal2")
    assert done.returncode == 0, done.stderr
    complete = ("--license", "mit", "--owner", "us")
    done = await asyncio.to_thread(_command, live, "models", "publish", "seal2", *complete)
    assert done.returncode == 0, done.stderr


def _command(service: ServiceProcess, *arguments: str) -> Any:
    return command(*arguments, **dict(service.environment))


def test_what_import_prints_and_export_gives_back(tmp_path: Path) -> None:
    models = tmp_path / "models"
    where = {"PIXELFACTORY_WORKFLOWS_DIR": str(models)}
    done = command("models", "import", put(tmp_path, sdxl()), "--id", "drawn", **where)
    assert done.returncode == 0, done.stderr
    for line in (
        "Set by requests",
        "  6.text = {{ prompt }}",
        "Fixed",
        "  3.scheduler = karras",
        "To fill in",
    ):
        assert line in done.stdout, done.stdout
    assert "Problems" not in done.stdout
    for format in ("api", "ui"):
        file = tmp_path / f"{format}.json"
        done = command("models", "export", "drawn", "--format", format, "-o", str(file), **where)
        assert done.returncode == 0, done.stderr
        done = command("models", "import", str(file), "--id", f"again-{format}", **where)
        assert done.returncode == 0, done.stderr
        drafts = models / ".drafts"
        first, second = load_model(drafts / "drawn"), load_model(drafts / f"again-{format}")
        assert first.source.template == second.source.template
        assert first.parameters == second.parameters
    done = command("models", "check", **where)
    assert (done.returncode, "3 model(s) checked, no problems" in done.stderr) == (0, True), done.stderr


def test_a_check_names_model_node_and_input(tmp_path: Path) -> None:
    shutil.copytree(PICTURE, tmp_path / "test-image")
    where = {"PIXELFACTORY_WORKFLOWS_DIR": str(tmp_path)}
    graph = json.loads((tmp_path / "test-image" / "graph.json").read_text())
    graph["colour"]["inputs"]["height"] = "{{ height - 300 }}"
    (tmp_path / "test-image" / "graph.json").write_text(json.dumps(graph))
    for name in ("broken", "priceless"):
        shutil.copytree(PICTURE, tmp_path / name)
    manifest = (PICTURE / "model.toml").read_text()
    (tmp_path / "broken" / "model.toml").write_text(manifest.replace('kind = "image"', 'kind = "song"'))
    priceless = manifest.replace('"test-image"', '"priceless"').replace('"flux-1-schnell"', '"gold"')
    (tmp_path / "priceless" / "model.toml").write_text(priceless)
    done = command("models", "check", "--json", **where)
    assert done.returncode == 1
    told = {row["model"]: row["problem"] for row in json.loads(done.stdout)["problems"]}
    assert told["test-image"].startswith("node colour, input height: must be at least 1 (got -44)")
    assert "broken/model.toml: kind: " in told["broken"]
    assert any("'gold' is not in tariff" in problem for problem in told.values())
    assert command("models", "check", "nothing", **where).returncode == 1


def ring(classes: str = "ImageInvert") -> dict[str, Any]:
    """Nodes that wait for one another."""
    nodes = {
        str(number): {"class_type": classes, "inputs": {"image": [str((number + 1) % 3), 0]}}
        for number in range(3)
    }
    return nodes | {"s": {"class_type": "SaveImage", "inputs": {"images": ["0", 0], "filename_prefix": "x"}}}


def endless() -> dict[str, Any]:
    """Subgraphs that hold each other."""
    inner = {"id": "b", "nodes": [node(1, "a")], "links": [], "inputs": [], "outputs": []}
    outer = inner | {"id": "a", "nodes": [node(1, "b")]}
    return workflow(node(1, "a"), save(2, 1), links=[], definitions={"subgraphs": [inner, outer]})


def parameter(**inputs: Any) -> dict[str, Any]:
    declared = {"name": "side", "value": 5, "minimum": 1, "maximum": 9, "step": 1} | inputs
    empty = {"width": ["p", 0], "height": 64, "batch_size": 1, "color": 0}
    return {
        "p": {"class_type": "PixelFactoryInteger", "inputs": declared},
        "e": {"class_type": "EmptyImage", "inputs": empty},
        "s": {"class_type": "SaveImage", "inputs": {"images": ["e", 0], "filename_prefix": "x"}},
    }


def broken_png() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", json.dumps(sdxl()))
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()[:200]


BAD = {
    "nothing": (b"", "not valid JSON"),
    "no json": (b"hello {", "not valid JSON"),
    "deep": (b"[" * 1_000_000, "not valid JSON"),
    "gigantic": (b'{"nodes": [' + b'{"id": 1},' * 5_000_000, "JSON is larger than"),
    "no graph": ({"a": 1}, "must be a ComfyUI workflow"),
    "no saver": ({"1": {"class_type": "EmptyImage", "inputs": {}}}, "saves a result"),
    "nodes of numbers": ({"nodes": [1, 2, 3], "links": []}, "must be an object"),
    "links of words": (workflow(save(1, 1), links=["link"]), "a link must have"),
    "endless subgraphs": (endless(), "nested more than"),
    "rerouted in a ring": (
        workflow(
            node(1, "Reroute", inputs=[socket("", "*", 2)], gives=["*"]),
            node(2, "Reroute", inputs=[socket("", "*", 1)], gives=["*"]),
            save(3, 3),
            links=[[1, 1, 0, 2, 0, "*"], [2, 2, 0, 1, 0, "*"], [3, 1, 0, 3, 0, "*"]],
        ),
        "form a cycle without a source: 1 (Reroute)",
    ),
    "ring": (ring(), "nodes depend on each other: 0 -> "),
    "broken picture": (broken_png(), "not valid JSON"),
    "parameter of Python": (parameter(name="__class__"), "is not a valid parameter name"),
    "reserved parameter": (parameter(name="filename_prefix"), "is not a valid parameter name"),
    "linked parameter": (parameter(name=["e", 0]), "must be a value of the node"),
    "default out of range": (parameter(value=10), "must be between"),
    "range of words": (parameter(minimum="one"), "must be numbers"),
    "step of nothing": (parameter(step=0), "greater than 0"),
    "endless number": (parameter(maximum=float("inf")), "input maximum: must be a finite number (got inf)"),
    "two declarations": (
        parameter() | {"q": {**parameter(value=6)["p"]}},
        "declares the parameter side differently",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_one_clear_line(name: str, tmp_path: Path) -> None:
    data, words = BAD[name]
    done = command("models", "import", put(tmp_path, data), "--id", "bad", "--into", str(tmp_path / "models"))
    assert (done.returncode, done.stdout) == (1, ""), done.stdout
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "models" / "bad").exists()


@pytest.mark.parametrize("id", ["../escape", "a/b", "..", "", "A", "a b", "-a", "x" * 101, "/tmp/x"])
def test_rejects_ids_that_leave_the_directory(id: str, tmp_path: Path) -> None:
    models = tmp_path / "deep" / "models"
    done = command("models", "import", put(tmp_path, sdxl()), "--id", id, "--into", str(models))
    assert done.returncode == 1
    assert "is not a valid model id" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["graph.json"]


def test_a_text_that_looks_like_an_expression_stays_a_text(tmp_path: Path) -> None:
    hostile = "{{ ''.__class__.__mro__ }} {% for x in y %} {{ cycler.__init__.__globals__.os }}"
    graph = parameter()
    graph["e"] = {
        "class_type": "EmptyImage",
        "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0},
    }
    graph["t"] = {"class_type": "StringReplace", "inputs": {"string": hostile, "find": "", "replace": ""}}
    graph["e"]["inputs"]["color"] = ["l", 0]
    graph["l"] = {"class_type": "StringLength", "inputs": {"string": ["t", 0]}}
    done = command("models", "import", put(tmp_path, graph), "--id", "hostile", "--into", str(tmp_path))
    assert done.returncode == 0, done.stderr
    model = load_model(tmp_path / "hostile")
    assert model.render_graph(model.example_params(), filename_prefix="p")["t"]["inputs"]["string"] == hostile


def test_names_that_are_taken_stay_with_their_owners(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "workflows" / "sdxl-1.0", tmp_path / "sdxl-1.0")
    for id, words in (
        ("sdxl-1.0", "the model exists already"),
        ("sdxl", "is already an alias of the model sdxl-1.0"),
    ):
        done = command("models", "import", put(tmp_path, sdxl()), "--id", id, "--into", str(tmp_path))
        assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    for arguments in (("import", str(tmp_path / "none.json"), "--id", "x"), ("export", "none")):
        done = command("models", *arguments, PIXELFACTORY_WORKFLOWS_DIR=str(tmp_path))
        assert (done.returncode, "Traceback" in done.stderr) == (1, False)


def test_unknown_nodes_are_named_with_where_they_come_from(tmp_path: Path) -> None:
    pack = {"cnr_id": "comfyui-kjnodes", "ver": "1.2.3"}
    odd = invert(1, 1, properties=pack) | {"type": "OddNode"}
    links = [[1, 3, 0, 1, 0, "IMAGE"], [2, 1, 0, 2, 0, "IMAGE"]]
    graph = workflow(image(3), odd, save(2, 2), links=links)
    done = command("models", "import", put(tmp_path, graph), "--id", "odd", "--into", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (
        "facts of the node class OddNode, which is unknown; the file says it is part of comfyui-kjnodes 1.2.3"
        in done.stdout
    )
    assert "missing_node_type" in done.stdout


def test_a_parameter_that_cannot_be_fixed_is_named(tmp_path: Path) -> None:
    options = ("--id", "swatch", "--into", str(tmp_path / "models"), "--fix", "colour")
    done = command("models", "import", put(tmp_path, graph()), *options)
    assert done.returncode == 1
    assert done.stderr.startswith("error: --fix: parameters: there is no 'colour'; there are ")
