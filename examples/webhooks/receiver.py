"""Receive the webhook of a job and check its Standard Webhooks signature.

The service signs `webhook-id`, `webhook-timestamp` and the body with the secret of
`GET /api/v1/webhooks/secret`. A receiver must check the signature of the unchanged bytes of the body, and
remember `webhook-id`: a message may be delivered more than once, always with the same id.
"""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

PORT = int(os.environ.get("PORT", "8000"))
RECEIVER_URL = os.environ.get("RECEIVER_URL", f"http://127.0.0.1:{PORT}/")
client = httpx.Client(
    base_url=f"{os.environ['PIXELFACTORY_URL']}/api/v1",
    headers={"Authorization": f"Bearer {os.environ['PIXELFACTORY_API_KEY']}"},
    timeout=30,
)
webhook = Webhook(client.get("/webhooks/secret").raise_for_status().json()["secret"])
messages: dict[str, Any] = {}


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            message = webhook.verify(body, dict(self.headers))
        except WebhookVerificationError:
            self.send_response(401)
        else:
            messages[self.headers["webhook-id"]] = message
            self.send_response(204)  # any status from 200 to 299 ends the delivery
        self.end_headers()


with HTTPServer(("", PORT), Receiver) as server:
    request = {"model": "flux-1-schnell", "prompt": "A lighthouse", "webhook_url": RECEIVER_URL}
    headers = {"Prefer": "respond-async"}
    client.post("/images/generations", json=request, headers=headers).raise_for_status()
    while not messages:
        server.handle_request()
(message,) = messages.values()
print(message["type"], message["data"]["status"])
