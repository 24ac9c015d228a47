#!/bin/sh
# Pixazo's dialect: one request that responds with its result, and one that is queued and polled.
set -eu
auth="Ocp-Apim-Subscription-Key: $PIXELFACTORY_API_KEY"
post() {
  curl -sS --fail-with-body "$PIXELFACTORY_URL$1" -H "$auth" -H "Content-Type: application/json" -d "$2"
}

url=$(post /flux-1-schnell/v1/getData \
  '{"prompt": "A dog on the beach", "num_steps": 4, "width": 512, "height": 512}' | jq -r .output)
curl -sS --fail -o dog.png "$url"
echo "saved dog.png"

polling_url=$(post /flux-dev/v1/dev/textToImage \
  '{"prompt": "A city at sunset", "image_size": "landscape_4_3"}' | jq -r .polling_url)
while :; do
  request=$(curl -sS --fail-with-body "$polling_url" -H "$auth")
  case "$(echo "$request" | jq -r .status)" in
    COMPLETED) break ;;
    FAILED | ERROR) echo "$request" >&2; exit 1 ;;
  esac
  sleep 1
done
curl -sS --fail -o city.png "$(echo "$request" | jq -r '.output.media_url[0]')"
echo "saved city.png"
