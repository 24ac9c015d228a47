// The sign-in page.

import { request } from "../shared/api.js";
import { byId } from "../shared/dom.js";
import { handleSubmit } from "../shared/forms.js";

const goToDashboard = () => location.replace("/");

// A link on another site leads here even with a session, because browsers do not send the SameSite cookie
// with it. From this page they do.
request("GET", "/session").then(({ signed_in: signedIn }) => signedIn && goToDashboard());

const credential = byId("credential", HTMLInputElement);
const form = byId("sign-in", HTMLFormElement);

// `scripts/demo` prints a link with its key. Browsers send this part of a link to no server. The key is not
// sent by itself: a link of a stranger must not sign anybody in.
const linkedKey = new URLSearchParams(location.hash.slice(1)).get("key");
if (linkedKey) {
  history.replaceState(null, "", location.pathname);
  credential.value = linkedKey;
  form.querySelector("button")?.focus();
}

handleSubmit(form, async () => {
  try {
    await request("POST", "/session", { body: { credential: credential.value } });
  } catch (error) {
    credential.focus();
    credential.select();
    throw error;
  }
  credential.value = "";
  goToDashboard();
});
