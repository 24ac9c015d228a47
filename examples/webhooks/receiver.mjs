// Receive the webhook of a job and check its Standard Webhooks signature, without any package.
//
// The service signs `webhook-id`, `webhook-timestamp` and the body with the secret of
// `GET /api/v1/webhooks/secret`. A receiver must check the signature of the unchanged bytes of the body, and
// remember `webhook-id`: a message may be delivered more than once, always with the same id.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const port = Number(process.env.PORT ?? 8000);
const receiverUrl = process.env.RECEIVER_URL ?? `http://127.0.0.1:${port}/`;
const api = `${process.env.PIXELFACTORY_URL}/api/v1`;
const headers = {
  Authorization: `Bearer ${process.env.PIXELFACTORY_API_KEY}`,
  "Content-Type": "application/json",
};
const toleranceSeconds = 300;

const { secret } = await (await fetch(`${api}/webhooks/secret`, { headers })).json();
const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");

function verify(body, { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signatures }) {
  if (!id || !timestamp || !signatures) return false;
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > toleranceSeconds) return false;
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest();
  // After a rotation of the secret there are two signatures, separated by a space.
  return signatures.split(" ").some((each) => {
    const [version, value] = each.split(",");
    const given = Buffer.from(value ?? "", "base64");
    return version === "v1" && given.length === expected.length && timingSafeEqual(given, expected);
  });
}

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  if (!verify(body, request.headers)) {
    response.writeHead(401).end();
    return;
  }
  response.writeHead(204).end(); // any status from 200 to 299 ends the delivery
  const message = JSON.parse(body);
  console.log(message.type, message.data.status);
  server.close();
  server.closeIdleConnections();
});
server.listen(port, async () => {
  const response = await fetch(`${api}/images/generations`, {
    method: "POST",
    headers: { ...headers, Prefer: "respond-async" },
    body: JSON.stringify({ model: "flux-1-schnell", prompt: "A lighthouse", webhook_url: receiverUrl }),
  });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
});
