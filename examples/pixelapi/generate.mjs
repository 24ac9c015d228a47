// PixelAPI's dialect: submit a generation, poll it and save it as output.png.
import { writeFileSync } from "node:fs";

const headers = {
  Authorization: `Bearer ${process.env.PIXELFACTORY_API_KEY}`,
  "Content-Type": "application/json",
};

async function call(path, options = {}) {
  const response = await fetch(process.env.PIXELFACTORY_URL + path, { ...options, headers });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  return response.json();
}

const submitted = await call("/v1/image/generate", {
  method: "POST",
  body: JSON.stringify({ model: "sdxl", prompt: "A futuristic city at sunset", steps: 20 }),
});
let generation = submitted;
while (generation.status === "queued" || generation.status === "processing") {
  await new Promise((resolve) => setTimeout(resolve, 1000));
  generation = await call(`/v1/image/${submitted.generation_id}`);
}
if (generation.status !== "completed") throw new Error(`the generation is ${generation.status}`);
const file = await fetch(generation.output_url);
writeFileSync("output.png", Buffer.from(await file.arrayBuffer()));
console.log("saved output.png");
