import { call } from "./api.js";
import { byId } from "./dom.js";

// The cookie does not come along when another site's link led here, but it does from here on.
const leave = () => location.replace("/");
call("GET", "/session").then(({ signed_in: inside }) => inside && leave());

byId("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = byId("credential");
  byId("refusal").textContent = "";
  try {
    await call("POST", "/session", { body: { credential: field.value } });
    field.value = "";
    leave();
  } catch (refused) {
    byId("refusal").textContent = refused.message;
    field.focus();
    field.select();
  }
});
