// A bar chart of amounts by day, as SVG.

import { el } from "../shared/dom.js";

const HEIGHT = 100;
/** Distance between the left sides of two bars. */
const PITCH = 10;
const BAR_WIDTH = 8;
/** Height of the smallest bar that is not zero, so that it can be seen. */
const MIN_BAR_HEIGHT = 1;

/**
 * @typedef {object} Bar
 * @property {string} label
 * @property {number} value
 * @property {string} text The value as text.
 */

/**
 * Create an SVG element.
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @param {...(Node | string)} children
 */
function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

/**
 * Create a figure with a chart.
 * @param {string} title
 * @param {string} description The values as text, for screen readers.
 * @param {Bar[]} bars At least one.
 */
export function barChart(title, description, bars) {
  const highest = bars.reduce((highest, bar) => (bar.value > highest.value ? bar : highest));
  const chart = svg(
    "svg",
    {
      class: "bar-chart",
      viewBox: `0 0 ${bars.length * PITCH} ${HEIGHT}`,
      // The bars stretch to the width of the page. Text must not, so the labels are outside the SVG.
      preserveAspectRatio: "none",
      role: "img",
      "aria-labelledby": "chart-title chart-description",
    },
    svg("title", { id: "chart-title" }, title),
    svg("desc", { id: "chart-description" }, description),
    ...bars.map((bar, index) => column(bar, index, highest.value)),
  );
  const ends = [bars[0], bars[bars.length - 1]].map((bar) => el("span", { textContent: bar.label }));
  const scale = el("p", { className: "hint", textContent: highest.text, ariaHidden: "true" });
  const axis = el("p", { className: "axis hint", ariaHidden: "true" }, ...ends);
  return el("figure", {}, scale, chart, axis);
}

/**
 * @param {Bar} bar
 * @param {number} index
 * @param {number} maximum
 */
function column({ label, value, text }, index, maximum) {
  const height = value && Math.max(MIN_BAR_HEIGHT, (HEIGHT * value) / maximum);
  const place = { x: index * PITCH + (PITCH - BAR_WIDTH) / 2, width: BAR_WIDTH };
  return svg(
    "g",
    {},
    svg("title", {}, `${label}: ${text}`),
    svg("rect", { class: "chart-slot", ...place, y: 0, height: HEIGHT }),
    svg("rect", { class: "chart-bar", ...place, y: HEIGHT - height, height }),
  );
}
