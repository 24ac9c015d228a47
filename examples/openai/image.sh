#!/bin/sh
# Generate an image and save it as lighthouse.png.
set -eu
curl -sS --fail-with-body "$PIXELFACTORY_URL/api/v1/images/generations" \
  -H "Authorization: Bearer $PIXELFACTORY_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{"model": "flux-1-schnell", "prompt": "A lighthouse at dusk", "size": "1344x768", "response_format": "b64_json"}' |
  jq -r '.data[0].b64_json' | base64 -d > lighthouse.png
echo "saved lighthouse.png"
