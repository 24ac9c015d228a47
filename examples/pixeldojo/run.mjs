// PixelDojo's dialect: run a model, poll its job and save the image as output.png.
import { writeFileSync } from "node:fs";

const headers = {
  Authorization: `Bearer ${process.env.PIXELFACTORY_API_KEY}`,
  "Content-Type": "application/json",
};

async function call(url, options = {}) {
  const response = await fetch(url, { ...options, headers });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  return response.json();
}

const submitted = await call(`${process.env.PIXELFACTORY_URL}/api/v1/models/flux-1-dev/run`, {
  method: "POST",
  body: JSON.stringify({ prompt: "A sunset over the sea", aspect_ratio: "16:9" }),
});
let job = submitted;
while (job.status === "pending" || job.status === "processing") {
  await new Promise((resolve) => setTimeout(resolve, 1000));
  job = await call(submitted.statusUrl);
}
if (job.status !== "completed") throw new Error(`the job ${job.status}`);
const file = await fetch(job.output.images[0]);
writeFileSync("output.png", Buffer.from(await file.arrayBuffer()));
console.log("saved output.png");
