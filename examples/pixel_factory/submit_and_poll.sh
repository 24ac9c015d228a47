#!/bin/sh
# Submit a generation without waiting for it, poll its job and download the result as video.mp4.
set -eu
auth="Authorization: Bearer $PIXELFACTORY_API_KEY"
job=$(curl -sS --fail-with-body "$PIXELFACTORY_URL/api/v1/images/generations" \
  -H "$auth" -H "Content-Type: application/json" -H "Prefer: respond-async" \
  -d '{"model": "wan2.1-t2v-fast", "prompt": "Waves breaking on a rocky shore", "num_frames": 33}')
id=$(echo "$job" | jq -r .jobId)
while :; do
  job=$(curl -sS --fail-with-body "$PIXELFACTORY_URL/api/v1/jobs/$id" -H "$auth")
  status=$(echo "$job" | jq -r .status)
  case "$status" in
    completed) break ;;
    failed | cancelled) echo "$job" >&2; exit 1 ;;
  esac
  sleep 1
done
curl -sS --fail -o video.mp4 "$(echo "$job" | jq -r '.output.videos[0]')"
echo "saved video.mp4"
