// Modules that are loaded when they are first needed, so that pages need not wait for them.

import { ApiError } from "./api.js";

/**
 * Load a module. Throws ApiError when it cannot be loaded.
 * @template T
 * @param {() => Promise<T>} load
 */
export async function loadModule(load) {
  try {
    return await load();
  } catch {
    throw new ApiError({ message: "This part of the page cannot be loaded now. Check your connection and reload it." });
  }
}
