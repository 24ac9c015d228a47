// Bars over days, drawn as SVG.

import { el } from "./dom.js";

const HEIGHT = 100;
// Width of a bar with the gap to the next one, and without.
const [PITCH, BAR] = [10, 8];
// So that the smallest amount is seen at all.
const LEAST = 1;

function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// `bars` have a `label`, a `value` and its `text`. What it says to the eye, `description` says in words.
export function barChart(title, description, bars) {
  const top = bars.reduce((most, bar) => (bar.value > most.value ? bar : most), bars[0]);
  const named = { role: "img", "aria-labelledby": "chart-title chart-description" };
  // Bars stretch with the page; words must not, and stand around them.
  const view = { class: "bars", viewBox: `0 0 ${bars.length * PITCH} ${HEIGHT}`, preserveAspectRatio: "none" };
  const drawing = svg(
    "svg",
    { ...view, ...named },
    svg("title", { id: "chart-title" }, title),
    svg("desc", { id: "chart-description" }, description),
    ...bars.map((bar, index) => column(bar, index, top.value)),
  );
  const ends = [bars[0], bars.at(-1)].map((bar) => el("span", { textContent: bar.label }));
  const legend = el("p", { className: "hint", textContent: top.text, ariaHidden: "true" });
  const axis = el("p", { className: "axis hint", ariaHidden: "true" }, ...ends);
  return el("figure", {}, legend, drawing, axis);
}

function column({ label, value, text }, index, most) {
  const height = value && Math.max(LEAST, (HEIGHT * value) / most);
  const place = { x: index * PITCH + (PITCH - BAR) / 2, width: BAR };
  return svg(
    "g",
    {},
    svg("title", {}, `${label}: ${text}`),
    svg("rect", { class: "slot", ...place, y: 0, height: HEIGHT }),
    svg("rect", { class: "bar-of-day", ...place, y: HEIGHT - height, height }),
  );
}
