// Requests to the service. The browser sends the session cookie by itself.

/** An error response of the service. `message` is the text for the user. */
export class ApiError extends Error {
  /** @param {{ message: string, code?: string, param?: string }} error */
  constructor({ message, code, param }) {
    super(message);
    /** Machine-readable error code. */
    this.code = code;
    /** Name of the parameter at fault. */
    this.param = param;
  }
}

/**
 * @typedef {object} RequestOptions
 * @property {object} [body] Sent as JSON.
 * @property {AbortSignal} [signal]
 */

/**
 * Send a request and return the JSON or the text of the response; null for an empty one.
 * Throws ApiError when the service refuses the request or cannot be reached.
 * @param {string} method
 * @param {string} path
 * @param {RequestOptions} [options]
 * @returns {Promise<any>}
 */
export async function request(method, path, { body, signal } = {}) {
  const response = await fetch(path, {
    method,
    signal,
    headers: body ? { "Content-Type": "application/json" } : {},
    body: body && JSON.stringify(body),
  }).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new ApiError({
      message: "The service cannot be reached. Check your connection and try again.",
      code: "unreachable",
    });
  });
  if (response.status === 204) return null;
  const isJson = response.headers.get("Content-Type")?.startsWith("application/json");
  const content = isJson ? await response.json() : await response.text();
  if (response.ok) return content;
  throw new ApiError(content.error ?? { message: `The service responded with HTTP ${response.status}. Try again later.` });
}

/**
 * Send a request to the dashboard's API. Without a valid session, go to the sign-in page.
 * @param {string} method
 * @param {string} path Relative to `/dashboard/api/`.
 * @param {RequestOptions} [options]
 * @returns {Promise<any>}
 */
export async function api(method, path, options) {
  try {
    return await request(method, `/dashboard/api/${path}`, options);
  } catch (error) {
    if (!(error instanceof ApiError) || error.code !== "not_signed_in") throw error;
    location.assign("/sign-in");
    // The page is being left: never resolve, so that callers do nothing more.
    return new Promise(() => {});
  }
}

let isSignedOut = false;

/** Whether the user has signed out on this page: from then on, nothing may be remembered. */
export const hasSignedOut = () => isSignedOut;

/** End the session and go to the sign-in page. */
export async function signOut() {
  // The session may have ended already; the sign-in page is right in either case.
  await request("DELETE", "/session").catch(() => {});
  isSignedOut = true;
  try {
    // Settings that pages remember, such as prompts, are the account's.
    localStorage.clear();
  } catch {
    // The browser blocks storage, so that nothing was kept.
  }
  location.assign("/sign-in");
}
