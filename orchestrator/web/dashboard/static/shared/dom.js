// Elements made and found in one line each.

export const byId = (id) => document.getElementById(id);

// `props` are properties of the element; what is none becomes an attribute.
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

export function button(text, act, className = "") {
  const node = el("button", { type: "button", textContent: text, className });
  node.addEventListener("click", act);
  return node;
}

// Pairs of a term and a fact, for a `dl`.
export function definitions(pairs) {
  return pairs.flatMap(([term, fact]) => [el("dt", { textContent: term }), el("dd", { textContent: fact })]);
}

// Rows of cells (texts or nodes), each headed by its first.
export function rowsOf(rows) {
  return rows.map(([first, ...cells]) => {
    const heading = el("th", { scope: "row" }, first);
    return el("tr", {}, heading, ...cells.map((cell) => el("td", {}, cell)));
  });
}

export function table(caption, headings, rows) {
  const head = el("tr", {}, ...headings.map((textContent) => el("th", { scope: "col", textContent })));
  const body = el("tbody", {}, ...rowsOf(rows));
  return el("table", {}, el("caption", { textContent: caption }), el("thead", {}, head), body);
}
