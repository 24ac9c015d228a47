"""HuggingFace's dialect, by its own package: make an image and save it as output.png."""

import os

from huggingface_hub import InferenceClient

client = InferenceClient(
    base_url=f"{os.environ['PIXELFACTORY_URL']}/hf/black-forest-labs/FLUX.1-schnell",
    api_key=os.environ["PIXELFACTORY_API_KEY"],
)
client.text_to_image("A fox in the snow", width=1024, height=768, seed=7).save("output.png")
print("saved output.png")
