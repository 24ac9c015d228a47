// AUTOMATIC1111's dialect: draw an image and save it as output.png.
import { writeFileSync } from "node:fs";

const key = Buffer.from(`any:${process.env.PIXELFACTORY_API_KEY}`).toString("base64");
const response = await fetch(`${process.env.PIXELFACTORY_URL}/sdapi/v1/txt2img`, {
  method: "POST",
  headers: { Authorization: `Basic ${key}`, "Content-Type": "application/json" },
  body: JSON.stringify({ prompt: "A fox in the snow", negative_prompt: "blur", width: 1024, height: 1024 }),
});
if (!response.ok) throw new Error(await response.text());
const { images } = await response.json();
writeFileSync("output.png", Buffer.from(images[0], "base64"));
console.log("saved output.png");
