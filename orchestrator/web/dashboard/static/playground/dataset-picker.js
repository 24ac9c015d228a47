// A dataset that a person gives: an archive of pictures and captions, or one picture.

import { el } from "./dom.js";
import { dataUrl } from "./pictures.js";

const ACCEPTED = ".zip,.png,.jpg,.jpeg,.webp";
// A price depends on the steps, not on what is learnt: one pixel spares sending megabytes each time a
// slider moves.
const PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";

// A picker with `encoded(encode)`, where `encode` makes text of what has `data` and `blank` as a Picture has.
export function datasetPicker(id, required) {
  const input = el("input", { type: "file", id, accept: ACCEPTED, required });
  const chosen = { data: () => input.files.length ? dataUrl(input.files[0]) : undefined, blank: () => PIXEL };
  return { input, encoded: async (encode) => encode(chosen) };
}
