// The secret that signs webhook messages.

import { api } from "../shared/api.js";
import { byId } from "../shared/dom.js";
import { copyText } from "../shared/clipboard.js";
import { loadSection } from "../shared/load-section.js";

const MASK = "•".repeat(16);

/** Make the buttons show, hide, copy and rotate the signing secret. */
export function setUpSigningSecret() {
  const secret = byId("signing-secret");
  const toggle = byId("show-secret");
  const copy = byId("copy-secret", HTMLButtonElement);

  /** @param {string} [text] */
  const show = (text) => {
    secret.textContent = text ?? MASK;
    toggle.textContent = text ? "Hide" : "Show";
    copy.hidden = !text;
  };
  /**
   * @param {string} method
   * @param {string} path
   */
  const load = (method, path) =>
    loadSection(byId("signing"), async () => show((await api(method, path)).secret));

  toggle.addEventListener("click", () => (copy.hidden ? load("GET", "webhooks/secret") : show()));
  copy.addEventListener("click", () => copyText(secret, copy));
  byId("rotate-secret").addEventListener("click", () => {
    const question = "Rotate the signing secret? For one day, messages are also signed with the current secret.";
    if (confirm(question)) load("POST", "webhooks/secret/rotate");
  });
  show();
}
