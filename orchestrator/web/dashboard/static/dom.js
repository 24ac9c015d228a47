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

// Pairs of a term and a fact, for a `dl`.
export function definitions(pairs) {
  return pairs.flatMap(([term, fact]) => [el("dt", { textContent: term }), el("dd", { textContent: fact })]);
}
