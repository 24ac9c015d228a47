#!/bin/sh
# Replicate's dialect: run a model, wait for it and save its image as output.webp.
set -eu
prediction=$(curl -sS --fail-with-body \
  "$PIXELFACTORY_URL/v1/models/black-forest-labs/flux-schnell/predictions" \
  -H "Authorization: Bearer $PIXELFACTORY_API_KEY" -H "Content-Type: application/json" -H "Prefer: wait" \
  -d '{"input": {"prompt": "A fox in the snow", "output_format": "webp"}}')
curl -sS --fail -o output.webp "$(printf '%s' "$prediction" | jq -r '.output[0]')"
echo "saved output.webp"
