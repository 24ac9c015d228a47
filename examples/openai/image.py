"""Generate an image with the OpenAI SDK and save it as lighthouse.png."""

import base64
import os
from pathlib import Path

from openai import OpenAI

client = OpenAI(
    base_url=f"{os.environ['PIXELFACTORY_URL']}/api/v1",
    api_key=os.environ["PIXELFACTORY_API_KEY"],
)
response = client.images.generate(
    model="flux-1-schnell",
    prompt="A lighthouse at dusk, oil painting",
    size="1344x768",
    response_format="b64_json",
    # Parameters that OpenAI's API does not have go into `extra_body`.
    extra_body={"seed": 7, "steps": 4},
)
assert response.data is not None
Path("lighthouse.png").write_bytes(base64.b64decode(response.data[0].b64_json or ""))
print("saved lighthouse.png")
