// Create a video with the OpenAI SDK, poll it and save it as waves.mp4.
import { writeFileSync } from "node:fs";
import OpenAI from "openai";

const client = new OpenAI({
  baseURL: `${process.env.PIXELFACTORY_URL}/api/v1`,
  apiKey: process.env.PIXELFACTORY_API_KEY,
});
let video = await client.videos.create({
  model: "wan2.1-t2v-fast",
  prompt: "Waves breaking on a rocky shore",
  num_frames: 33,
});
while (video.status === "queued" || video.status === "in_progress") {
  await new Promise((resolve) => setTimeout(resolve, 1000));
  video = await client.videos.retrieve(video.id);
}
if (video.status !== "completed") throw new Error(`the video failed: ${video.error?.message}`);
const content = await client.videos.downloadContent(video.id);
writeFileSync("waves.mp4", Buffer.from(await content.arrayBuffer()));
console.log("saved waves.mp4");
