// Submit a generation without waiting for it, poll its job and download the result as video.mp4.
import { randomUUID } from "node:crypto";
import { writeFileSync } from "node:fs";

const headers = {
  Authorization: `Bearer ${process.env.PIXELFACTORY_API_KEY}`,
  "Content-Type": "application/json",
};

async function call(path, options = {}) {
  const response = await fetch(process.env.PIXELFACTORY_URL + path, {
    ...options,
    headers: { ...headers, ...options.headers },
  });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  return response.json();
}

// A repeated request with the same `Idempotency-Key` returns the same job and is charged once.
let job = await call("/api/v1/images/generations", {
  method: "POST",
  headers: { Prefer: "respond-async", "Idempotency-Key": randomUUID() },
  body: JSON.stringify({
    model: "wan2.1-t2v-fast",
    prompt: "Waves breaking on a rocky shore",
    num_frames: 33,
  }),
});
while (job.status === "pending" || job.status === "processing") {
  await new Promise((resolve) => setTimeout(resolve, 1000));
  job = await call(`/api/v1/jobs/${job.jobId}`);
}
if (job.status !== "completed") throw new Error(`the job ${job.status}: ${JSON.stringify(job.error)}`);
// The URL needs no API key, and expires.
const file = await fetch(job.output.videos[0]);
writeFileSync("video.mp4", Buffer.from(await file.arrayBuffer()));
console.log("saved video.mp4");
