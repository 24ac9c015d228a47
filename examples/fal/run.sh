#!/bin/sh
# fal's dialect: run an app, wait for it and save its image as output.png.
set -eu
result=$(curl -sS --fail-with-body "$PIXELFACTORY_URL/fal/fal-ai/flux/schnell" \
  -H "Authorization: Key $PIXELFACTORY_API_KEY" -H "Content-Type: application/json" \
  -d '{"prompt": "A fox in the snow", "image_size": "landscape_4_3"}')
curl -sS --fail -o output.png "$(printf '%s' "$result" | jq -r '.images[0].url')"
echo "saved output.png"
