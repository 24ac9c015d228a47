// Requests to our own server. The session cookie goes along by itself.

export class Refused extends Error {
  constructor(error) {
    super(error.message);
    this.code = error.code;
    this.param = error.param;
  }
}

// The JSON of the answer, or its text. Throws Refused with the server's own words.
export async function call(method, path, { body, signal } = {}) {
  const response = await fetch(path, {
    method,
    signal,
    headers: body ? { "Content-Type": "application/json" } : {},
    body: body && JSON.stringify(body),
  }).catch((reason) => {
    if (reason.name === "AbortError") throw reason;
    throw new Refused({ message: "The service can not be reached.", code: "unreachable" });
  });
  if (response.status === 204) return null;
  const json = response.headers.get("Content-Type")?.startsWith("application/json");
  const answer = json ? await response.json() : await response.text();
  if (response.ok) return answer;
  throw new Refused(answer.error ?? { message: `The service answered ${response.status}.` });
}

// What only those who are signed in may ask; everybody else lands on the sign-in page.
export async function api(method, path, options) {
  try {
    return await call(method, `/dashboard/api/${path}`, options);
  } catch (refused) {
    if (refused.code !== "not_signed_in") throw refused;
    location.assign("/sign-in");
    // Nobody is left to hear an answer.
    return new Promise(() => {});
  }
}

export async function signOut() {
  // A session that has ended already is as good.
  await call("DELETE", "/session").catch(() => {});
  location.assign("/sign-in");
}
