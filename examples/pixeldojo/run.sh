#!/bin/sh
# PixelDojo's dialect: run a model, poll its job and save the image as output.png.
set -eu
auth="Authorization: Bearer $PIXELFACTORY_API_KEY"
status_url=$(curl -sS --fail-with-body "$PIXELFACTORY_URL/api/v1/models/flux-1-dev/run" \
  -H "$auth" -H "Content-Type: application/json" \
  -d '{"prompt": "A sunset over the sea", "aspect_ratio": "16:9"}' | jq -r .statusUrl)
while :; do
  job=$(curl -sS --fail-with-body "$status_url" -H "$auth")
  case "$(echo "$job" | jq -r .status)" in
    completed) break ;;
    failed | cancelled) echo "$job" >&2; exit 1 ;;
  esac
  sleep 1
done
curl -sS --fail -o output.png "$(echo "$job" | jq -r '.output.images[0]')"
echo "saved output.png"
