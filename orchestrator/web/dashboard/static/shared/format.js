// Amounts, sizes, times and parameter names as text.

/** @type {Intl.NumberFormatOptions} */
const USD_OPTIONS = {
  style: "currency",
  currency: "USD",
  minimumFractionDigits: 2,
  maximumFractionDigits: 6,
};
const USD = new Intl.NumberFormat("en-US", USD_OPTIONS);
const SIGNED_USD = new Intl.NumberFormat("en-US", { ...USD_OPTIONS, signDisplay: "exceptZero" });

/** @param {number} usd */
export const dollars = (usd) => USD.format(usd);

/**
 * Format an amount with a plus or a minus.
 * @param {number} usd
 */
export const signedDollars = (usd) => SIGNED_USD.format(usd);

/**
 * Return what a request with the defaults of a model costs.
 * @param {{ price_usd: number, price_depends_on_input: boolean }} model
 */
export const priceLabel = (model) => `${model.price_depends_on_input ? "from " : ""}${dollars(model.price_usd)}`;

/** @param {number} bytes */
export const gibibytes = (bytes) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

/**
 * Format an ISO time in the browser's language and time zone.
 * @param {string} iso
 */
export const dateTime = (iso) => new Date(iso).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

/**
 * Format the time since `iso` in seconds, minutes, hours or days.
 * @param {string} iso
 */
export function elapsed(iso) {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(iso)) / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return seconds < 86400 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} d`;
}

/** @type {Record<string, string>} */
const LABELS = {
  cfg_scale: "CFG scale",
  fps: "Frames per second",
  image: "Input image",
  images: "Reference images",
  loras: "LoRAs",
  num_frames: "Frames",
};

/**
 * Return the label of a model parameter.
 * @param {string} name
 */
export const parameterLabel = (name) => LABELS[name] ?? (name.charAt(0).toUpperCase() + name.slice(1)).replaceAll("_", " ");
