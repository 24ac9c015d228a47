// Numbers as people read them.

const STYLE = {
  style: "currency",
  currency: "USD",
  minimumFractionDigits: 2,
  maximumFractionDigits: 6,
};
const USD = new Intl.NumberFormat("en-US", STYLE);
const CHANGE = new Intl.NumberFormat("en-US", { ...STYLE, signDisplay: "exceptZero" });

export const dollars = (usd) => USD.format(usd);

// What comes with a plus, what goes with a minus.
export const signedDollars = (usd) => CHANGE.format(usd);

export const gibibytes = (bytes) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

export const when = (iso) => new Date(iso).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

// Seconds, minutes, hours or days since `iso`.
export function since(iso) {
  const seconds = Math.max(0, Math.round((Date.now() - new Date(iso)) / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return seconds < 86400 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} d`;
}

const LABELS = {
  cfg_scale: "CFG scale",
  fps: "Frames per second",
  image: "Input picture",
  images: "Reference pictures",
  num_frames: "Frames",
};

// What people call a parameter.
export const label = (name) => LABELS[name] ?? (name[0].toUpperCase() + name.slice(1)).replaceAll("_", " ");
