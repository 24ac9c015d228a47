"""fal's ids of apps that run open models, and the models of the catalog with the same weights."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from orchestrator.catalog import Catalog
from orchestrator.errors import NotFound
from orchestrator.web.dialects.hosted_names import require_hosted_name

#: fal offers models of all makers under one owner.
HOSTS = frozenset({"fal-ai", "fal"})
#: Path below an app that streams unfinished results.
STREAM_SUFFIX = "/stream"
#: Where clients ask for short-lived tokens, by which browsers connect.
_TOKEN_PATH = "tokens"

APP_MODELS: Mapping[str, str] = MappingProxyType(
    {
        "fal-ai/flux/schnell": "flux-1-schnell",
        "fal-ai/flux-1/schnell": "flux-1-schnell",
        "fal-ai/flux/dev": "flux-1-dev",
        "fal-ai/flux-1/dev": "flux-1-dev",
        "fal-ai/flux-lora": "flux-1-dev",
        "fal-ai/flux/dev/image-to-image": "flux-1-dev-image-to-image",
        "fal-ai/flux-1/dev/image-to-image": "flux-1-dev-image-to-image",
        "fal-ai/flux-lora/image-to-image": "flux-1-dev-image-to-image",
        "fal-ai/flux/dev/redux": "flux-1-redux-dev",
        "fal-ai/flux-1/dev/redux": "flux-1-redux-dev",
        "fal-ai/flux/krea": "flux-1-krea-dev",
        "fal-ai/flux-1/krea": "flux-1-krea-dev",
        "fal-ai/flux-kontext/dev": "flux-1-kontext-dev",
        "fal-ai/flux-2": "flux-2-dev",
        "fal-ai/flux-2/edit": "flux-2-dev",
        "fal-ai/fast-sdxl": "sdxl-1.0",
        "fal-ai/stable-diffusion-v15": "sd-1.5",
        "fal-ai/stable-diffusion-v35-large": "sd-3.5-large",
        "fal-ai/hidream-i1-full": "hidream-i1",
        "fal-ai/hidream-e1-full": "hidream-e1",
        "fal-ai/z-image/turbo": "z-image-turbo",
        "fal-ai/qwen-image-edit/inpaint": "qwen-image-edit-inpaint",
        "fal-ai/birefnet": "birefnet-cutout",
        "fal-ai/birefnet/v2": "birefnet-cutout",
        "fal-ai/cogvideox-5b": "cogvideox-1.5-5b",
        "fal-ai/hunyuan-video": "hunyuan-video-720p",
        "fal-ai/flux-general/inpainting": "flux-1-fill-dev",
        "fal-ai/wan-i2v": "wan2.1-i2v-480p",
        "fal-ai/wan-t2v": "wan2.1-t2v-pro",
        "fal-ai/wan/v2.2-a14b/text-to-video": "wan2.2-t2v-14b",
        "fal-ai/wan/v2.2-a14b/image-to-video": "wan2.2-i2v-14b",
        "fal-ai/wan/v2.2-5b/text-to-video": "wan2.2-5b",
        "fal-ai/wan/v2.2-14b/animate/move": "wan2.2-animate",
        "fal-ai/wan/v2.2-14b/animate/replace": "wan2.2-replace",
    }
)


def find_model_name(catalog: Catalog, app: str) -> str:
    """Return the catalog's name of the model that an app runs. Raises NotFound."""
    if app.strip("/") == _TOKEN_PATH:
        raise NotFound(
            'Tokens, which `realtime` and streams with `connectionMode: "client"` ask for, are not offered;'
            ' stream with `connectionMode: "server"`, or use `subscribe`'
        )
    return require_hosted_name(catalog, app.strip("/"), APP_MODELS, HOSTS)


def is_app_of(base: str, app: str) -> bool:
    """Whether an app belongs to `base`: clients ask for the state of requests below `owner/name` only."""
    return app == base or app.startswith(f"{base}/")
