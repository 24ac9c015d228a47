// Generate an image with the OpenAI SDK and save it as lighthouse.png.
import { writeFileSync } from "node:fs";
import OpenAI from "openai";

const client = new OpenAI({
  baseURL: `${process.env.PIXELFACTORY_URL}/api/v1`,
  apiKey: process.env.PIXELFACTORY_API_KEY,
});
const response = await client.images.generate({
  model: "flux-1-schnell",
  prompt: "A lighthouse at dusk, oil painting",
  size: "1344x768",
  response_format: "b64_json",
  // Parameters that OpenAI's API does not have are passed beside the others.
  seed: 7,
  steps: 4,
});
writeFileSync("lighthouse.png", Buffer.from(response.data[0].b64_json, "base64"));
console.log("saved lighthouse.png");
