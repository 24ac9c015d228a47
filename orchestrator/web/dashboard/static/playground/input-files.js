// Input files of earlier jobs, which forms use again.

import { ApiError } from "../shared/api.js";

/**
 * Load an input file of a job. Throws ApiError with what the user can do.
 * @param {string} path
 * @param {string} name Name of the parameter.
 */
export async function fetchInput(path, name) {
  const response = await fetch(path).catch(() => undefined);
  if (response?.status === 404) {
    throw new ApiError({ message: "the file is no longer kept. Choose it again.", code: "input_expired" });
  }
  try {
    if (!response?.ok) throw new Error(`status ${response?.status}`);
    const blob = await response.blob();
    return new File([blob], `${name}.${suffixOf(response)}`, { type: blob.type });
  } catch {
    throw new ApiError({ message: "the file cannot be loaded now. Try again, or choose it again." });
  }
}

/**
 * Return the suffix of the name under which the service sends a file.
 * @param {Response} response
 */
function suffixOf(response) {
  const name = /filename="?([^";]+)/.exec(response.headers.get("Content-Disposition") ?? "")?.[1] ?? "";
  return name.split(".").pop() || "bin";
}
