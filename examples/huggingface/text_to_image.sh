#!/bin/sh
# HuggingFace's dialect: make an image and save it as output.png.
set -eu
curl -sS --fail-with-body "$PIXELFACTORY_URL/hf/black-forest-labs/FLUX.1-schnell" \
  -H "Authorization: Bearer $PIXELFACTORY_API_KEY" -H "Content-Type: application/json" -H "Accept: image/png" \
  -d '{"inputs": "A fox in the snow", "parameters": {"width": 1024, "height": 768}}' -o output.png
echo "saved output.png"
