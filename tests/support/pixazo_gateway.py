"""The gateway's endpoints by name, and a catalogue in which all of their models run."""

from __future__ import annotations

from orchestrator.web.dialects.pixazo.endpoints import PIXAZO_ENDPOINTS
from tests.support.shipped import SHIPPED_CATALOG

#: With stand-ins for all models of the gateway that cannot run here.
CATALOG = SHIPPED_CATALOG.with_stand_ins(
    {
        "flux-2-pro-image-to-image-866": "flux-2-dev",
        "flux-2-pro-text-to-image-799": "flux-2-dev",
        "flux-2-pro-image-to-image-trainer-831": "flux-2-klein-4b-lora-trainer",
        "flux-2-pro-text-to-image-trainer-712": "flux-2-klein-4b-lora-trainer",
        "flux-pro-1-1": "flux-2-dev",
        "flux-pro": "flux-1-dev",
    }
)
BY_PATH = {endpoint.path: endpoint for endpoint in PIXAZO_ENDPOINTS}
DEV = BY_PATH["/flux-dev/v1/dev/textToImage"]
EDIT = BY_PATH["/flux-dev/v1/dev/imageToImage"]
PRO = BY_PATH["/flux-pro/v1/pro/textToImage"]
FILL = BY_PATH["/flux-fill-dev/v1/flux-fill/generate"]
RESTORE = BY_PATH["/flux-kontext-restore-image/v1/flux-kontext-restore-image/generate"]
PRO_EDIT = BY_PATH["/flux-2-pro-image-to-image-866/v1/flux-2-pro-image-to-image-request"]
PRO_TEXT = BY_PATH["/flux-2-pro-text-to-image-799/v1/flux-2-pro-text-to-image-request"]
ULTRA = BY_PATH["/pro1.1/v1/pro1.1ultra/generateRequest"]
KLEIN = BY_PATH["/flux-2-klein-4b/v1/generateImage"]
TEXT = BY_PATH["/generateT2I"]
SCHNELL = BY_PATH["/flux-1-schnell/v1/getData"]
BATCH = BY_PATH["/flux-1-schnell/v1/getDataBatch"]
TRAINER = BY_PATH["/flux-2-pro-text-to-image-trainer-712/v1/flux-2-pro-text-to-image-trainer-request"]
URL = "https://example.com/a.png"
OTHER_URL = "https://example.com/b.png"
