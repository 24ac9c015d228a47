// Replicate's dialect, by its own package: run a model and save its image as output.webp.
import { writeFileSync } from "node:fs";
import Replicate from "replicate";

const replicate = new Replicate({
  baseUrl: `${process.env.PIXELFACTORY_URL}/v1`,
  auth: process.env.PIXELFACTORY_API_KEY,
  useFileOutput: false,
});
const [url] = await replicate.run("black-forest-labs/flux-schnell", {
  input: { prompt: "A fox in the snow", aspect_ratio: "3:2", output_format: "webp", seed: 7 },
});
const file = await fetch(url);
writeFileSync("output.webp", Buffer.from(await file.arrayBuffer()));
console.log("saved output.webp");
