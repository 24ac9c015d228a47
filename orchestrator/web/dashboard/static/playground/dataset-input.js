// A field for a training dataset: an archive of images with captions, or one image.

/** @import { EncodeUpload } from "../types.d.ts" */

import { el } from "../shared/dom.js";
import { toDataUrl } from "./image-file.js";

const ACCEPTED_TYPES = ".zip,.png,.jpg,.jpeg,.webp";
// A price does not depend on the dataset, so quotes send one pixel instead of the whole file.
const ONE_PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";

/**
 * Create a file input, and a function that encodes the chosen file.
 * @param {string} id
 * @param {boolean} required
 */
export function datasetInput(id, required) {
  const input = el("input", { type: "file", id, accept: ACCEPTED_TYPES, required });
  /** @param {EncodeUpload} encode */
  const encode = async (encode) => {
    const file = input.files?.[0];
    const source = { toDataUrl: async () => (file ? toDataUrl(file) : ""), toPlaceholder: async () => ONE_PIXEL };
    return (await encode(source)) || undefined;
  };
  return { input, encode };
}
