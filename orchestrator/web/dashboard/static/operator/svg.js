// Small charts as SVG.

/**
 * Create an SVG element.
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @param {...(Node | string)} children
 */
export function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

/** @type {Record<string, string>} */
const ACTIVITIES = { l: "loading", r: "drained", d: "down" };

/**
 * Draw what an instance did in each minute of the last hour.
 * @param {string} history One character per minute, oldest first: a digit for the busy share, or a letter.
 */
export function historyStrip(history) {
  const minutes = [...history];
  // Only for minutes of which something is known: the others are not idle.
  const known = minutes.findIndex((letter) => letter !== ".");
  const slots = known < 0 ? 0 : minutes.length - known;
  const bars = minutes.map((letter, index) => {
    const activity = ACTIVITIES[letter];
    if (activity) return svg("rect", { class: activity, x: index, y: 0, width: 0.9, height: 10 });
    const height = /\d/.test(letter) && letter !== "0" ? Math.max(1.5, (10 * (Number(letter) + 1)) / 10) : 0;
    return svg("rect", { class: "busy", x: index, y: 10 - height, width: 0.9, height });
  });
  return svg(
    "svg",
    { class: "strip", viewBox: `0 0 ${minutes.length} 10`, preserveAspectRatio: "none", role: "img", "aria-label": describe(minutes) },
    svg("rect", { class: "slot", x: minutes.length - slots, y: 9.4, width: slots, height: 0.6 }),
    ...bars,
  );
}

/**
 * Say in words what a strip shows.
 * @param {string[]} minutes
 */
function describe(minutes) {
  const busy = minutes.reduce((sum, letter) => sum + (/\d/.test(letter) && letter !== "0" ? (Number(letter) + 1) / 10 : 0), 0);
  const count = (/** @type {string} */ wanted) => minutes.filter((letter) => letter === wanted).length;
  const parts = [`busy for ${Math.round(busy)} minutes`];
  for (const [letter, name] of Object.entries(ACTIVITIES)) if (count(letter)) parts.push(`${name} in ${count(letter)}`);
  if (count(".")) parts.push(`nothing known of ${count(".")}`);
  return `Last hour: ${parts.join(", ")}`;
}
