#!/bin/sh
# AUTOMATIC1111's dialect: draw an image and save it as output.png.
set -eu
curl -sS --fail-with-body "$PIXELFACTORY_URL/sdapi/v1/txt2img" \
  -u "any:$PIXELFACTORY_API_KEY" -H "Content-Type: application/json" \
  -d '{"prompt": "A fox in the snow", "width": 1024, "height": 1024}' |
  jq -r '.images[0]' | base64 -d >output.png
echo "saved output.png"
