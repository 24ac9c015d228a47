// HuggingFace's dialect: make an image and save it as output.png.
import { writeFileSync } from "node:fs";

const url = `${process.env.PIXELFACTORY_URL}/hf/black-forest-labs/FLUX.1-schnell`;
const response = await fetch(url, {
  method: "POST",
  headers: {
    Authorization: `Bearer ${process.env.PIXELFACTORY_API_KEY}`,
    "Content-Type": "application/json",
    Accept: "image/png",
  },
  body: JSON.stringify({ inputs: "A fox in the snow", parameters: { width: 1024, height: 768, seed: 7 } }),
});
if (!response.ok) throw new Error(await response.text());
writeFileSync("output.png", Buffer.from(await response.arrayBuffer()));
console.log("saved output.png");
