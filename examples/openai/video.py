"""Create a video with the OpenAI SDK, poll it and save it as waves.mp4."""

import os
import time

from openai import OpenAI

client = OpenAI(
    base_url=f"{os.environ['PIXELFACTORY_URL']}/api/v1",
    api_key=os.environ["PIXELFACTORY_API_KEY"],
)
video = client.videos.create(
    model="wan2.1-t2v-fast",
    prompt="Waves breaking on a rocky shore",
    extra_body={"num_frames": 33},
)
while video.status in ("queued", "in_progress"):
    time.sleep(1)
    video = client.videos.retrieve(video.id)
if video.status != "completed":
    raise SystemExit(f"the video failed: {video.error}")
client.videos.download_content(video.id).write_to_file("waves.mp4")
print("saved waves.mp4")
