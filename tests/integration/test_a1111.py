"""The web UI's API: by the Python client `webuiapi`, and with the requests of programs that speak it."""

from __future__ import annotations

import io
import json
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.support.callers import new_key
from tests.support.images import base64_png, png, size_of
from tests.support.polling import wait_until_sync
from tests.support.python_client import run_python
from tests.support.service import ServiceProcess

CLIENT = """
import json, os
import webuiapi
from PIL import Image

api = webuiapi.WebUIApi(
    baseurl=os.environ["ADDRESS"] + "/sdapi/v1", username="any", password=os.environ["KEY"]
)
reported = {}
api.util_set_model("sd-1.5")
reported["model"] = api.get_options()["sd_model_checkpoint"]
drawn = api.txt2img(prompt="a cat", negative_prompt="blur", seed=7, width=256, height=256, batch_size=2)
sizes = [image.size for image in drawn.images]
reported["drawn"] = [sizes, drawn.info["all_seeds"], drawn.info["sd_model_name"]]
again = api.img2img(images=[drawn.image], prompt="a dog", denoising_strength=0.5, width=256, height=256)
reported["again"] = again.image.size
mask = Image.new("L", (256, 256), 0)
mask.paste(255, (96, 96, 160, 160))
filled = api.img2img(images=[drawn.image], mask_image=mask, prompt="a hat", width=256, height=256)
corners = [image.convert("RGB").getpixel((4, 4)) for image in (filled.image, drawn.image)]
reported["filled"] = [filled.image.size, corners[0] == corners[1]]
reported["filled_by"] = filled.info["sd_model_name"]
larger = api.extra_single_image(image=drawn.image, upscaler_1="4x-ultrasharp", upscaling_resize=2)
reported["larger"] = larger.image.size
reported["png_info"] = api.png_info(drawn.image).info.splitlines()[0]
reported["lists"] = {
    "models": [each["title"] for each in api.get_sd_models()],
    "samplers": [each["name"] for each in api.get_samplers()],
    "upscalers": [each["name"] for each in api.get_upscalers()],
    "loras": api.get_loras(),
    "styles": api.get_prompt_styles(),
}
reported["progress"] = api.get_progress()["progress"]
api.interrupt()
reported["models"] = api.util_get_model_names()
try:
    api.txt2img(prompt="a cat", enable_hr=True)
except Exception as error:
    reported["refused"] = str(error)
print(json.dumps(reported))
"""


@pytest.fixture(scope="module")
def http(offering: ServiceProcess) -> Iterator[httpx.Client]:
    with client_of(offering, new_key(offering, "50.00")) as client:
        yield client


def client_of(service: ServiceProcess, key: str) -> httpx.Client:
    return httpx.Client(base_url=f"{service.url}/sdapi/v1", auth=("any", key), timeout=60)


def draw(http: httpx.Client, route: str = "txt2img", **fields: Any) -> httpx.Response:
    return http.post(f"/{route}", json={"prompt": "a cat", "width": 256, "height": 256, **fields})


def pictures(response: httpx.Response) -> list[bytes]:
    assert response.status_code == 200, response.text
    return [b64decode(each) for each in response.json()["images"]]


def info(response: httpx.Response) -> dict[str, Any]:
    return dict(json.loads(response.json()["info"]))


def white_square(side: int = 256, inner: int = 64) -> str:
    mask = Image.new("L", (side, side), 0)
    mask.paste(255, ((side - inner) // 2, (side - inner) // 2, (side + inner) // 2, (side + inner) // 2))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return b64encode(buffer.getvalue()).decode("ascii")


def test_its_python_client(offering: ServiceProcess, tmp_path: Any) -> None:
    reported = json.loads(
        run_python(tmp_path, CLIENT, ADDRESS=offering.url, KEY=new_key(offering, "50.00")).splitlines()[-1]
    )
    assert reported["model"] == "sd-1.5"
    sizes, seeds, model = reported["drawn"]
    assert (sizes, seeds[0], len(seeds), model) == ([[256, 256]] * 2, 7, 2, "sd-1.5")
    assert reported["again"] == [256, 256]
    assert reported["filled"] == [[256, 256], True], "what the mask leaves is as it was"
    assert reported["larger"] == [512, 512]
    assert reported["png_info"] == "a cat"
    lists = reported["lists"]
    assert "sdxl-1.0" in lists["models"]
    assert "4x-ultrasharp" in lists["upscalers"]
    assert lists["samplers"] == ["Default"]
    assert lists["styles"] == []
    assert reported["progress"] == 0
    assert "enable_hr" in reported["refused"]


def test_requests_of_silly_tavern(http: httpx.Client) -> None:
    lists = (
        "options",
        "upscalers",
        "latent-upscale-modes",
        "sd-vae",
        "samplers",
        "schedulers",
        "sd-models",
    )
    answers = {name: http.get(f"/{name}") for name in lists}
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(lists, 200)
    assert all(answers[name].json()[0]["name"] for name in ("samplers", "schedulers", "upscalers"))
    response = draw(
        http,
        url="http://localhost:7860",
        auth="any:thing",
        negative_prompt="blur",
        sampler_name="Euler a",
        scheduler="normal",
        steps=4,
        cfg_scale=7,
        restore_faces=False,
        enable_hr=False,
        hr_upscaler="Latent",
        hr_scale=1.5,
        denoising_strength=0.7,
        hr_second_pass_steps=0,
        seed=-1,
        override_settings={"CLIP_stop_at_last_layers": 1, "sd_vae": "Automatic"},
        override_settings_restore_afterwards=True,
        clip_skip=1,
        save_images=True,
        send_images=True,
        do_not_save_grid=False,
        do_not_save_samples=False,
    )
    assert [size_of(each) for each in pictures(response)] == [(256, 256)]
    assert "auth" not in response.json()["parameters"]
    assert "url" not in response.json()["parameters"]
    warnings = response.headers["X-PixelFactory-Warnings"]
    assert "sampler_name" in warnings
    assert "scheduler" in warnings
    assert "auth" not in warnings


def test_silly_tavern_chooses_a_model_and_interrupts(offering: ServiceProcess) -> None:
    """It sets one option, waits until no job is shown, and interrupts what its user leaves."""
    with client_of(offering, new_key(offering, "5.00")) as http:
        assert http.post("/options", json={"sd_model_checkpoint": "sd-1.5"}).status_code == 200
        progress = http.get("/progress").json()
        assert (progress["progress"], progress["state"]["job_count"]) == (0, 0)
        assert http.get("/options").json()["sd_model_checkpoint"] == "sd-1.5"
        assert "forge_preset" not in http.get("/options").json()
        assert http.get("/sd-modules").status_code == 404, "one of two lists of VAEs is enough"
        assert http.post("/interrupt").status_code == 200


def test_lists_the_loras_that_prompts_can_name(http: httpx.Client) -> None:
    listed = http.get("/loras").json()
    assert {"gold", "ink"} <= {each["name"] for each in listed}
    assert all(each["alias"] == each["name"] and each["path"] == "" for each in listed)
    assert len(pictures(draw(http, prompt="a cat <lora:ink:0.8>"))) == 1


def test_requests_of_open_webui(offering: ServiceProcess) -> None:
    with client_of(offering, new_key(offering, "5.00")) as http:
        options = http.get("/options").json()
        # It sends all options back, with the model changed.
        assert http.post("/options", json={**options, "sd_model_checkpoint": "flux-1-schnell"}).json() == {}
        assert http.get("/options").json()["sd_model_checkpoint"] == "flux-1-schnell"
        response = draw(http, batch_size=2, steps=4, sampler_name="Euler", scheduler="Karras", cfg_scale=1)
        assert len(pictures(response)) == 2
        assert info(response)["sd_model_name"] == "flux-1-schnell"
        edited = draw(
            http,
            "img2img",
            init_images=[base64_png(128, 128)],
            batch_size=1,
            denoising_strength=0.75,
            mask=white_square(128),
        )
        assert [size_of(each) for each in pictures(edited)] == [(128, 128)]


def test_requests_of_libre_chat(http: httpx.Client) -> None:
    response = draw(http, negative_prompt="blur", cfg_scale=4.5, steps=22, width=1024, height=1024)
    (image,) = pictures(response)
    reported = info(response)
    assert size_of(image) == (1024, 1024) == (reported["width"], reported["height"])
    assert isinstance(reported["seed"], int)
    assert reported["infotexts"][0].startswith("a cat\nNegative prompt: blur")


def test_the_text_of_a_png_says_how_it_was_made(http: httpx.Client) -> None:
    (image,) = pictures(draw(http, negative_prompt="blur", seed=9, steps=6))
    with Image.open(io.BytesIO(image)) as opened:
        text = opened.text["parameters"]  # type: ignore[attr-defined]
    assert "Seed: 9" in text
    assert "Size: 256x256" in text
    assert "Steps: 6" in text
    read = http.post("/png-info", json={"image": b64encode(image).decode("ascii")}).json()
    assert read["info"] == text
    assert (read["parameters"]["Seed"], read["parameters"]["Negative prompt"]) == ("9", "blur")
    plain = http.post("/png-info", json={"image": base64_png()})
    assert (plain.status_code, plain.json()["info"], plain.json()["parameters"]) == (200, "", {})


@pytest.mark.parametrize(
    "fields",
    [
        {"mask": white_square()},
        {"mask": white_square(), "inpaint_full_res": False},
        {"mask": white_square(), "inpaint_full_res_padding": 16, "mask_blur": 0},
        {"mask": white_square(), "inpainting_mask_invert": 1},
        {"resize_mode": 1, "width": 256, "height": 320},
        {"resize_mode": 2, "width": 320, "height": 256},
        {},
    ],
    ids=lambda fields: " ".join(sorted(fields)) or "plain",
)
def test_images_of_images(http: httpx.Client, fields: dict[str, Any]) -> None:
    response = draw(http, "img2img", init_images=[base64_png(256, 256)], **fields)
    wanted = (256, 256) if "mask" in fields else (fields.get("width", 256), fields.get("height", 256))
    assert [size_of(each) for each in pictures(response)] == [wanted]
    assert response.json()["parameters"]["init_images"] is None
    assert ("Denoising strength" in info(response)["infotexts"][0]) is ("mask" not in fields)


def test_only_what_the_mask_marks_is_changed(http: httpx.Client) -> None:
    before = png(256, 256, (10, 200, 30))
    data_url = "data:image/png;base64," + b64encode(before).decode("ascii")
    response = draw(http, "img2img", init_images=[data_url], mask=white_square(), mask_blur=0)
    with Image.open(io.BytesIO(pictures(response)[0])) as after:
        picture = after.convert("RGB")
    assert picture.getpixel((3, 3)) == (10, 200, 30)
    inverted = draw(
        http,
        "img2img",
        init_images=[data_url],
        mask=white_square(),
        mask_blur=0,
        inpainting_mask_invert=1,
    )
    with Image.open(io.BytesIO(pictures(inverted)[0])) as after:
        assert after.convert("RGB").getpixel((128, 128)) == (10, 200, 30)


def test_loras_of_the_prompt(http: httpx.Client) -> None:
    response = draw(http, prompt="a cat <lora:nowhere:0.8>")
    assert response.status_code == 422, response.text
    assert "nowhere" in response.json()["errors"]
    assert response.json()["detail"][0]["loc"] == ["body", "prompt"], "programs send no other field"


def test_errors_say_the_way_out(http: httpx.Client) -> None:
    tiled = draw(http, prompt="a cat", tiling=True)
    assert tiled.json()["errors"] == "`tiling` is not supported (got True); leave it out"
    body = {"image": base64_png(), "upscaler_1": "R-ESRGAN 4x+"}
    scaled = http.post("/extra-single-image", json=body).json()["errors"]
    assert scaled.startswith("`upscaler_1` must be one of None, ")
    assert "4x-ultrasharp" in scaled


def test_extra_images(http: httpx.Client) -> None:
    image = base64_png(64, 64)
    by_factor = http.post("/extra-single-image", json={"image": image, "upscaler_1": "4x-ultrasharp"})
    assert by_factor.status_code == 200, by_factor.text
    assert size_of(b64decode(by_factor.json()["image"])) == (128, 128), "the factor is 2 unless set"
    to_size = http.post(
        "/extra-single-image",
        json={
            "image": image,
            "upscaler_1": "4x-ultrasharp",
            "resize_mode": 1,
            "upscaling_resize_w": 200,
            "upscaling_resize_h": 100,
        },
    )
    assert size_of(b64decode(to_size.json()["image"])) == (200, 100)
    alone = http.post("/extra-single-image", json={"image": image, "upscaling_resize": 3})
    assert size_of(b64decode(alone.json()["image"])) == (192, 192), "without an upscaler, it is only resized"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"image": "!", "upscaler_1": "4x-ultrasharp"}, "image"),
        ({}, "image"),
        ({"image": base64_png(), "upscaler_1": "sdxl-1.0"}, "upscaler_1"),
        ({"image": base64_png(), "upscaler_2": "4x-ultrasharp"}, "upscaler_2"),
        ({"image": base64_png(), "gfpgan_visibility": 1}, "gfpgan_visibility"),
        ({"image": base64_png(), "codeformer_visibility": 0.5}, "codeformer_visibility"),
        ({"image": base64_png(), "resize_mode": 3}, "resize_mode"),
        ({"image": base64_png(5000, 4), "upscaling_resize": 8}, "upscaling_resize"),
    ],
)
def test_bad_extra_images(http: httpx.Client, body: dict[str, Any], param: str) -> None:
    response = http.post("/extra-single-image", json=body)
    assert response.status_code == 422, response.text
    assert response.json()["detail"][0]["loc"] == ["body", param]


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("txt2img", {"prompt": 5}, "prompt"),
    ("txt2img", {"steps": "many"}, "steps"),
    ("txt2img", {"steps": 0}, "steps"),
    ("txt2img", {"steps": 10**6}, "steps"),
    ("txt2img", {"cfg_scale": []}, "cfg_scale"),
    ("txt2img", {"width": -5}, "width"),
    ("txt2img", {"width": 10**9}, "width"),
    ("txt2img", {"seed": -2}, "seed"),
    ("txt2img", {"seed": 2**70}, "seed"),
    ("txt2img", {"batch_size": 0}, "batch_size"),
    ("txt2img", {"batch_size": 100}, "batch_size"),
    ("txt2img", {"batch_size": 5, "n_iter": 5}, "batch_size"),
    ("txt2img", {"enable_hr": True}, "enable_hr"),
    ("txt2img", {"tiling": True}, "tiling"),
    ("txt2img", {"styles": ["ink"]}, "styles"),
    ("txt2img", {"script_name": "X/Y/Z plot"}, "script_name"),
    ("txt2img", {"refiner_checkpoint": "sdxl-refiner"}, "refiner_checkpoint"),
    ("txt2img", {"subseed_strength": 0.5}, "subseed_strength"),
    ("txt2img", {"alwayson_scripts": {"controlnet": {"args": [{"image": "x"}]}}}, "alwayson_scripts"),
    ("txt2img", {"override_settings": {"sd_model_checkpoint": "nothing-here"}}, "sd_model_checkpoint"),
    ("txt2img", {"override_settings": {"sd_model_checkpoint": 5}}, "sd_model_checkpoint"),
    ("txt2img", {"override_settings": {"sd_model_checkpoint": "4x-ultrasharp"}}, "sd_model_checkpoint"),
    ("txt2img", {"override_settings": []}, "override_settings"),
    ("txt2img", {"hocus": 1}, "hocus"),
    ("img2img", {}, "init_images"),
    ("img2img", {"init_images": []}, "init_images"),
    ("img2img", {"init_images": ["!"]}, "init_images"),
    ("img2img", {"init_images": [b64encode(b"no image").decode("ascii")]}, "init_images"),
    ("img2img", {"init_images": [base64_png()], "mask": "!"}, "mask"),
    (
        "img2img",
        {"init_images": [base64_png()], "mask": white_square(64, 0)},
        "mask",
    ),
    ("img2img", {"init_images": [base64_png()], "mask": white_square(), "mask_blur": 999}, "mask_blur"),
    (
        "img2img",
        {"init_images": [base64_png()], "mask": white_square(), "inpainting_fill": 1},
        "inpainting_fill",
    ),
    ("img2img", {"init_images": [base64_png()], "resize_mode": 9}, "resize_mode"),
    ("img2img", {"init_images": [base64_png()], "width": 10**6}, "width"),
    ("img2img", {"init_images": [base64_png()], "denoising_strength": 4}, "denoising_strength"),
    (
        "img2img",
        {
            "init_images": [base64_png()],
            "override_settings": {"sd_model_checkpoint": "flux-1-fill-dev"},
        },
        "mask",
    ),
]


@pytest.mark.parametrize(("route", "fields", "param"), BAD)
def test_bad_requests(http: httpx.Client, route: str, fields: dict[str, Any], param: str) -> None:
    response = draw(http, route, **fields)
    assert response.status_code == 422, response.text
    body = response.json()
    assert body["detail"][0]["loc"] == ["body", param], body
    assert body["error"]
    assert body["errors"] == body["detail"][0]["msg"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"a"', b"\xff\xfe"])
def test_bad_bodies(http: httpx.Client, body: bytes) -> None:
    paths = ("/txt2img", "/img2img", "/png-info", "/extra-single-image", "/options")
    for path in paths if body else paths[:-1]:
        response = http.post(path, content=body, headers={"Content-Type": "application/json"})
        assert response.status_code == 422, (path, response.text)
        assert isinstance(response.json()["detail"], list)


def test_no_prompt_makes_an_image(http: httpx.Client) -> None:
    (image,) = pictures(draw(http, prompt=""))
    assert size_of(image) == (256, 256)


def test_options_that_do_not_exist(http: httpx.Client) -> None:
    unknown = http.post("/options", json={"sd_model_checkpoint": "nothing-here"})
    assert (unknown.status_code, unknown.json()["detail"][0]["loc"]) == (422, ["body", "sd_model_checkpoint"])
    other = http.post("/options", json={"eta_noise_seed_delta": 31337})
    assert other.status_code == 200
    assert "eta_noise_seed_delta" in other.headers["X-PixelFactory-Warnings"]


def test_keys(offering: ServiceProcess) -> None:
    key, poor = new_key(offering, "5.00"), new_key(offering, None)
    address = f"{offering.url}/sdapi/v1"
    assert httpx.get(f"{address}/options", auth=(key, "")).status_code == 200, "the key as the name"
    assert httpx.get(f"{address}/options", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    refused = [
        httpx.get(f"{address}/options"),
        httpx.get(f"{address}/options", auth=("any", "wrong")),
        httpx.get(f"{address}/options", headers={"Authorization": "Basic ///"}),
        httpx.get(f"{address}/sd-models", headers={"Authorization": "Basic " + "A" * 40}),
        httpx.post(f"{address}/txt2img", json={"prompt": "a"}),
    ]
    for answer in refused:
        assert answer.status_code == 401, answer.text
        assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
        assert isinstance(answer.json()["detail"], str)
    with client_of(offering, poor) as http:
        unpaid = draw(http)
    assert unpaid.status_code == 402, unpaid.text
    assert unpaid.json()["detail"]
    assert unpaid.json()["error"]


def test_a_key_keeps_its_model_to_itself(offering: ServiceProcess, http: httpx.Client) -> None:
    with client_of(offering, new_key(offering, "5.00")) as other:
        assert other.post("/options", json={"sd_model_checkpoint": "sd-1.5"}).status_code == 200
        assert other.get("/options").json()["sd_model_checkpoint"] == "sd-1.5"
    assert http.get("/options").json()["sd_model_checkpoint"] == "sdxl-1.0"


def test_progress_and_interrupt(paced: ServiceProcess, paced_key: str) -> None:
    ended: list[httpx.Response] = []
    with client_of(paced, paced_key) as http:
        assert http.get("/progress").json()["progress"] == 0

        def run() -> None:
            # A second of the simulated card: requests of a loaded machine must find it running.
            ended.append(draw(http, steps=100, width=1024, height=1024))

        thread = threading.Thread(target=run)
        thread.start()
        seen: dict[str, Any] = {}

        def has_preview() -> bool:
            seen.update(http.get("/progress").json())
            return seen["current_image"] is not None

        wait_until_sync(has_preview)
        assert 0 < seen["progress"] < 1
        assert seen["state"]["job"]
        assert seen["state"]["job_count"] == 1
        assert size_of(b64decode(seen["current_image"]))
        without = http.get("/progress", params={"skip_current_image": "true"}).json()
        assert without["current_image"] is None
        assert http.post("/interrupt").json() == {}
        thread.join(30)
        assert http.get("/progress").json()["progress"] == 0
    assert ended[0].status_code >= 400, ended[0].text
    assert "cancel" in ended[0].text.lower()
