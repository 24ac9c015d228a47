// Recent webhook messages of the account, with their delivery attempts.

/** @import { DeliveryAttempt, WebhookMessage, WebhookMessageDetails } from "../types.d.ts" */

import { api } from "../shared/api.js";
import { button, byId, el } from "../shared/dom.js";
import { dateTime } from "../shared/format.js";
import { loadSection } from "../shared/load-section.js";

export function loadWebhookMessages() {
  return loadSection(byId("webhook-messages"), async () => {
    /** @type {{ messages: WebhookMessage[] }} */
    const { messages } = await api("GET", "webhooks/messages");
    byId("no-messages").hidden = messages.length > 0;
    byId("messages").replaceChildren(...messages.map(createItem));
  });
}

/**
 * Create a list item. Its delivery attempts are loaded when it is opened.
 * @param {WebhookMessage} message
 */
function createItem(message) {
  const time = el("span", { className: "hint", textContent: dateTime(message.created_at) });
  const title = el("span", {}, el("code", { textContent: message.type }), " ", time);
  const body = el("div", { className: "details-body" });
  const details = el("details", {}, el("summary", {}, title, statusTag(message)), body);
  details.addEventListener("toggle", () => {
    if (details.open) loadSection(body, () => showDetails(body, message.id));
  });
  return el("li", {}, details);
}

/** @param {WebhookMessage} message */
function statusTag(message) {
  const [style, text] = deliveryStatus(message);
  return el("span", { className: `tag push-right ${style}`, textContent: text });
}

/**
 * Return the style and the text of a message's delivery status.
 * @param {WebhookMessage} message
 */
function deliveryStatus({ url, attempts, delivered_at: deliveredAt, next_attempt_at: nextAttemptAt }) {
  if (!url) return ["", "No webhook"];
  if (deliveredAt) return ["good", "Delivered"];
  if (!nextAttemptAt) return ["bad", "Failed"];
  return attempts ? ["bad", "Retrying"] : ["", "Pending"];
}

/**
 * @param {HTMLElement} body
 * @param {string} messageId
 */
async function showDetails(body, messageId) {
  /** @type {WebhookMessageDetails} */
  const { history, url, data } = await api("GET", `webhooks/messages/${messageId}`);
  const noAttempts = url ? "No delivery attempt yet." : "No webhook URL is set, so this message is only listed here.";
  const attempts = history.length
    ? el("ol", {}, ...history.map(attemptItem))
    : el("p", { className: "hint", textContent: noAttempts });
  const destination = el("p", { className: "hint detail", textContent: url ? `To ${url}` : "" });
  const payload = el("pre", { textContent: JSON.stringify(data, null, 2), tabIndex: 0 });
  const resend = button("Send again", () => loadSection(byId("webhook-messages"), () => sendAgain(messageId)));
  resend.hidden = !url;
  body.replaceChildren(destination, attempts, payload, resend);
}

/** @param {DeliveryAttempt} attempt */
function attemptItem({ at, seconds, status, error }) {
  return el("li", { textContent: `${dateTime(at)}: ${error ?? `HTTP ${status}`} after ${seconds.toFixed(2)} s` });
}

/** @param {string} messageId */
async function sendAgain(messageId) {
  await api("POST", `webhooks/messages/${messageId}/replay`);
  await loadWebhookMessages();
  byId("announcement").textContent = "The message is queued to be sent again.";
  byId("webhook-messages").focus();
}
