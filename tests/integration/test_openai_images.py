"""The images API through the official Python SDK."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import httpx
import openai
import pytest
from openai.types import ImagesResponse
from PIL import Image

from tests.support.images import png, size_of
from tests.support.service import ServiceProcess

pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")


@pytest.fixture
def client(service: ServiceProcess, key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0) as client:
        yield client


def data(response: ImagesResponse) -> bytes:
    assert response.data
    return base64.b64decode(str(response.data[0].b64_json))


def usage(response: ImagesResponse, name: str) -> object:
    """Return a field of the usage that OpenAI's API does not have."""
    return getattr(response.usage, name)


def transparent_center(width: int = 128, height: int = 96) -> bytes:
    """Return a mask that is transparent in its middle."""
    mask = Image.new("RGBA", (width, height), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (width // 4, height // 4, width // 2, height // 2))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("output_format", "magic"), [("png", b"\x89PNG"), ("jpeg", b"\xff\xd8"), ("webp", b"RIFF")]
)
def test_delivers_the_requested_format(client: openai.OpenAI, output_format: str, magic: bytes) -> None:
    response = client.images.generate(
        model="flux-1-schnell", prompt="a cat", size="512x256", extra_body={"output_format": output_format}
    )
    assert data(response).startswith(magic)
    assert size_of(data(response)) == (512, 256)
    assert (response.output_format, response.size, response.quality) == (output_format, "512x256", "medium")
    assert response.background == "opaque"


def test_lower_quality_gives_smaller_files(client: openai.OpenAI) -> None:
    sizes = [
        len(
            data(
                client.images.generate(
                    model="flux-1-schnell",
                    prompt="a cat",
                    size="512x512",
                    output_format="jpeg",
                    output_compression=compression,
                    extra_body={"seed": 1},
                )
            )
        )
        for compression in (0, 50, 100)
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2]


def test_urls_serve_the_requested_format(client: openai.OpenAI) -> None:
    response = client.images.generate(
        model="flux-1-schnell", prompt="a cat", size="256x256", response_format="url", output_format="webp"
    )
    assert response.data
    file = httpx.get(str(response.data[0].url))
    assert file.headers["content-type"] == "image/webp"
    assert file.content.startswith(b"RIFF")


@pytest.mark.parametrize(
    ("quality", "steps"), [("low", 15), ("medium", 30), ("auto", 30), ("high", 45), ("hd", 45), ("max", 60)]
)
def test_quality_scales_the_steps(client: openai.OpenAI, quality: str, steps: int) -> None:
    response = client.images.generate(
        model="sdxl-1.0", prompt="a cat", size="256x256", extra_body={"quality": quality}
    )
    assert usage(response, "steps") == steps


def test_steps_override_quality(client: openai.OpenAI) -> None:
    response = client.images.generate(
        model="sdxl-1.0", prompt="a cat", size="256x256", quality="high", extra_body={"steps": 3}
    )
    assert usage(response, "steps") == 3


def test_ignores_fields_without_effect(client: openai.OpenAI) -> None:
    response = client.images.generate(
        prompt="a cat",
        model="flux-1-schnell",
        size="auto",
        background="auto",
        moderation="low",
        safety_identifier="user-1",
        style="vivid",
        user="user-1",
        n=None,
        quality=None,
    )
    assert size_of(data(response)) == (1024, 1024)
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.total_tokens) == (0, 0)


def test_passes_other_parameters_to_the_model(client: openai.OpenAI) -> None:
    image = base64.b64encode(png(128, 128)).decode()
    response = client.images.generate(
        model="flux-1-outpaint", prompt="a garden", extra_body={"image": image, "left": 64, "right": 64}
    )
    assert size_of(data(response))[0] > size_of(data(response))[1]


def test_edits_an_image(client: openai.OpenAI) -> None:
    response = client.images.edit(image=png(), prompt="at night", input_fidelity="high")
    assert usage(response, "model") == "flux-1-kontext-dev"
    assert data(response).startswith(b"\x89PNG")


def test_an_edit_depends_on_image_and_prompt(client: openai.OpenAI) -> None:
    made = {
        data(client.images.edit(image=image, prompt=prompt, extra_body={"seed": 1}))
        for image in (png(64, 64), png(64, 64, (1, 2, 3)))
        for prompt in ("at night", "in winter")
    }
    assert len(made) == 4


def test_edits_several_images(client: openai.OpenAI) -> None:
    response = client.images.edit(image=[png(64, 64), ("two.png", png(80, 64))], prompt="together")
    assert usage(response, "model") == "qwen-image-edit"


def test_edits_within_a_mask(client: openai.OpenAI) -> None:
    response = client.images.edit(image=png(128, 96), mask=transparent_center(), prompt="a hat")
    assert usage(response, "model") == "flux-1-fill-dev"
    assert size_of(data(response)) == (128, 96)


def test_edits_with_the_requested_model(client: openai.OpenAI) -> None:
    response = client.images.edit(
        model="flux-2-dev", image=png(), prompt="at night", size="512x512", n=2, extra_body={"steps": 5}
    )
    assert (usage(response, "model"), usage(response, "n"), usage(response, "steps")) == ("flux-2-dev", 2, 5)


def test_accepts_an_edit_as_json(service: ServiceProcess, key: str) -> None:
    url = "data:image/png;base64," + base64.b64encode(png()).decode()
    body = {"prompt": "at night", "images": [{"image_url": url}], "response_format": "url"}
    headers = {"Authorization": f"Bearer {key}"}
    answer = httpx.post(f"{service.url}/api/v1/images/edits", json=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["model"] == "flux-1-kontext-dev"


def test_makes_variations(client: openai.OpenAI) -> None:
    response = client.images.create_variation(image=png(), n=2, size="512x512")
    assert usage(response, "model") == "flux-1-redux-dev"
    assert response.data
    assert len({item.b64_json for item in response.data}) == 2
    assert size_of(data(response)) == (512, 512)


def test_models_can_be_read_but_not_deleted(client: openai.OpenAI) -> None:
    assert {"flux-1-schnell", "wan2.1-t2v-fast"} <= {model.id for model in client.models.list()}
    # A name of PixelAPI's document, which shares the address, is an entry of its own; other aliases are not.
    assert client.models.retrieve("flux-schnell").id == "flux-schnell"
    assert client.models.retrieve("flux-dev").id == "flux-1-dev"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("dall-e-9")
    with pytest.raises(openai.PermissionDeniedError):
        client.models.delete("flux-1-schnell")
    with pytest.raises(openai.NotFoundError):
        client.models.delete("dall-e-9")


def test_makes_a_transparent_background_with_a_model_that_supports_it(client: openai.OpenAI) -> None:
    made = {}
    for background in ("transparent", "opaque"):
        response = client.images.generate(
            model="flux-1-schnell-cutout",
            prompt="a fox",
            size="256x256",
            extra_body={"seed": 1},
            background=background,
        )
        assert response.background == background
        made[background] = Image.open(io.BytesIO(data(response)))
    clear, solid = made["transparent"], made["opaque"]
    alpha = clear.getchannel("A")
    assert (alpha.getpixel((0, 0)), alpha.getpixel((128, 128))) == (0, 255)
    assert solid.mode == "RGB"
    assert clear.convert("RGB").getpixel((128, 128)) == solid.getpixel((128, 128))


def test_cuts_out_the_subject_of_an_image(client: openai.OpenAI) -> None:
    response = client.images.edit(
        model="birefnet-cutout", prompt="", image=png(128, 96), background="transparent", output_format="webp"
    )
    cut = Image.open(io.BytesIO(data(response)))
    assert (cut.format, cut.mode, cut.size) == ("WEBP", "RGBA", (128, 96))
    assert cut.getchannel("A").getextrema() == (0, 255)
