// A field for an input video or sound.

/** @import { EncodeUpload } from "../types.d.ts" */

import { el } from "../shared/dom.js";
import { toDataUrl } from "./image-file.js";

/**
 * Create a file input, and a function that encodes the chosen file.
 * @param {string} id
 * @param {"video" | "audio"} type
 * @param {boolean} required
 * @param {() => void} onChange
 */
export function mediaFileInput(id, type, required, onChange) {
  const input = el("input", { type: "file", id, accept: `${type}/*`, required });
  input.addEventListener("change", onChange);
  // The price may depend on the length, which only the file itself has: quotes send it, too.
  /** @type {{ file: File, url: Promise<string> } | undefined} */
  let read;
  const encode = async (/** @type {EncodeUpload} */ encode) => {
    const file = input.files?.[0];
    if (!file) return undefined;
    if (read?.file !== file) read = { file, url: toDataUrl(file) };
    const { url } = read;
    return encode({ toDataUrl: () => url, toPlaceholder: () => url });
  };
  return { input, encode };
}
