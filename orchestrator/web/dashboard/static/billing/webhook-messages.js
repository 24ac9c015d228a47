// What the account's receivers were told, try by try, and the secret that it is signed with.

import { api } from "./api.js";
import { copyTo } from "./clipboard.js";
import { button, byId, el } from "./dom.js";
import { when } from "./format.js";
import { fill } from "./sections.js";

const HIDDEN = "•".repeat(16);

// How it stands with a message: the look of its tag, and its words.
function standing({ url, attempts, delivered_at: delivered, next_attempt_at: next }) {
  if (!url) return ["", "Listed"];
  if (delivered) return ["good", "Delivered"];
  if (!next) return ["bad", "Given up"];
  return attempts ? ["bad", "To be tried again"] : ["", "On its way"];
}

function outcome({ at, seconds, status, error }) {
  const answer = error ?? `HTTP ${status}`;
  return el("li", { textContent: `${when(at)}: ${answer} after ${seconds.toFixed(2)} s` });
}

export function loadOutbox() {
  return fill(byId("outbox"), async () => {
    const { messages } = await api("GET", "webhooks/messages");
    byId("no-messages").hidden = messages.length > 0;
    byId("messages").replaceChildren(...messages.map(item));
  });
}

// Its tries are asked for when somebody wants to see them.
function item(message) {
  const [look, words] = standing(message);
  const time = el("span", { className: "hint", textContent: when(message.created_at) });
  const told = el("span", {}, el("code", { textContent: message.type }), " ", time);
  const summary = el("summary", {}, told, el("span", { className: `tag end ${look}`, textContent: words }));
  const inside = el("div", { className: "inside" });
  const details = el("details", {}, summary, inside);
  details.addEventListener("toggle", () => details.open && fill(inside, () => showTries(inside, message)));
  return el("li", {}, details);
}

async function showTries(inside, message) {
  const { history, url, data } = await api("GET", `webhooks/messages/${message.id}`);
  const tries = history.length
    ? el("ol", {}, ...history.map(outcome))
    : el("p", { className: "hint", textContent: url ? "Not tried yet." : "It has no receiver: it is only listed." });
  const again = button("Send again", () => fill(byId("outbox"), () => replay(message)));
  again.hidden = !url;
  const to = el("p", { className: "hint about", textContent: url ? `To ${url}` : "" });
  inside.replaceChildren(to, tries, el("pre", { textContent: JSON.stringify(data, null, 2), tabIndex: 0 }), again);
}

async function replay(message) {
  await api("POST", `webhooks/messages/${message.id}/replay`);
  await loadOutbox();
  byId("news").textContent = "The message is sent again.";
  byId("outbox").focus();
}

export function offerSecret() {
  const [secret, show, copy] = ["signing-secret", "show-secret", "copy-secret"].map(byId);
  const put = (text) => {
    secret.textContent = text ?? HIDDEN;
    show.textContent = text ? "Hide" : "Show";
    copy.hidden = !text;
  };
  const ask = (method, path) => fill(byId("signing"), async () => put((await api(method, path)).secret));
  show.addEventListener("click", () => (copy.hidden ? ask("GET", "webhooks/secret") : put()));
  copy.addEventListener("click", () => copyTo(secret, copy));
  byId("rotate-secret").addEventListener("click", () => {
    const question = "Make another signing secret? For a day, messages are signed with the present one too.";
    if (confirm(question)) ask("POST", "webhooks/secret/rotate");
  });
  put();
}
