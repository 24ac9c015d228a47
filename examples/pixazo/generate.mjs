// Pixazo's dialect: one request that responds with its result, and one that is queued and polled.
import { writeFileSync } from "node:fs";

const headers = {
  "Ocp-Apim-Subscription-Key": process.env.PIXELFACTORY_API_KEY,
  "Content-Type": "application/json",
};

async function call(url, options = {}) {
  const response = await fetch(new URL(url, process.env.PIXELFACTORY_URL), { ...options, headers });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  return response.json();
}

async function save(url, name) {
  const file = await fetch(url);
  writeFileSync(name, Buffer.from(await file.arrayBuffer()));
  console.log(`saved ${name}`);
}

const post = (path, body) => call(path, { method: "POST", body: JSON.stringify(body) });

const result = await post("/flux-1-schnell/v1/getData", {
  prompt: "A dog on the beach",
  num_steps: 4,
  width: 512,
  height: 512,
});
await save(result.output, "dog.png");

const queued = await post("/flux-dev/v1/dev/textToImage", {
  prompt: "A city at sunset",
  image_size: "landscape_4_3",
});
let status = queued;
while (!["COMPLETED", "FAILED", "ERROR"].includes(status.status)) {
  await new Promise((resolve) => setTimeout(resolve, 1000));
  status = await call(queued.polling_url);
}
if (status.status !== "COMPLETED") throw new Error(`the request is ${status.status}: ${status.error}`);
await save(status.output.media_url[0], "city.png");
