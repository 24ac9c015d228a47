// fal's dialect, by its own package: run an app and save its image as output.png.
import { writeFileSync } from "node:fs";
import { fal } from "@fal-ai/client";

const base = `${process.env.PIXELFACTORY_URL}/fal`;
// The package has fixed addresses: send its requests to the service.
const hosts = { "https://fal.run": base, "https://queue.fal.run": `${base}/queue`, "https://rest.fal.ai": base };
const requestMiddleware = async (request) => {
  const [from, to] = Object.entries(hosts).find(([host]) => request.url.startsWith(`${host}/`)) ?? ["", ""];
  return { ...request, url: to + request.url.slice(from.length) };
};
fal.config({ credentials: process.env.PIXELFACTORY_API_KEY, requestMiddleware });
const result = await fal.subscribe("fal-ai/flux/schnell", {
  input: { prompt: "A fox in the snow", image_size: "landscape_4_3", seed: 7 },
});
const file = await fetch(result.data.images[0].url);
writeFileSync("output.png", Buffer.from(await file.arrayBuffer()));
console.log("saved output.png");
