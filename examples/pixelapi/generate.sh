#!/bin/sh
# PixelAPI's dialect: submit a generation, poll it and save it as output.png.
set -eu
auth="Authorization: Bearer $PIXELFACTORY_API_KEY"
id=$(curl -sS --fail-with-body "$PIXELFACTORY_URL/v1/image/generate" \
  -H "$auth" -H "Content-Type: application/json" \
  -d '{"model": "sdxl", "prompt": "A futuristic city at sunset", "steps": 20}' | jq -r .generation_id)
while :; do
  generation=$(curl -sS --fail-with-body "$PIXELFACTORY_URL/v1/image/$id" -H "$auth")
  case "$(echo "$generation" | jq -r .status)" in
    completed) break ;;
    failed | blocked) echo "$generation" >&2; exit 1 ;;
  esac
  sleep 1
done
curl -sS --fail -o output.png "$(echo "$generation" | jq -r .output_url)"
echo "saved output.png"
