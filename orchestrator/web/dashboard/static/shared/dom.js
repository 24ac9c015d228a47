// Short functions to find and create elements.

/**
 * Return the element with this id. Throws when the page has none, or one of another type.
 * @overload
 * @param {string} id
 * @returns {HTMLElement}
 */
/**
 * @template {HTMLElement} T
 * @overload
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
/**
 * @param {string} id
 * @param {new () => HTMLElement} type
 */
export function byId(id, type = HTMLElement) {
  const node = document.getElementById(id);
  if (!(node instanceof type)) throw new TypeError(`The page has no ${type.name} with the id "${id}"`);
  return node;
}

/**
 * Create an element. `props` are properties; names that are not properties of it become attributes.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Partial<HTMLElementTagNameMap[K]>} [props]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name in node) Object.assign(node, { [name]: value });
    else node.setAttribute(name, String(value));
  }
  node.append(...children);
  return node;
}

/**
 * Create a button that calls `onClick`.
 * @param {string} text
 * @param {() => void} onClick
 * @param {string} [className]
 */
export function button(text, onClick, className = "") {
  const node = el("button", { type: "button", textContent: text, className });
  node.addEventListener("click", onClick);
  return node;
}

/**
 * Create the terms and descriptions of a `dl`.
 * @param {[term: string, description: string][]} pairs
 */
export function definitions(pairs) {
  return pairs.flatMap(([term, text]) => [el("dt", { textContent: term }), el("dd", { textContent: text })]);
}

/**
 * Create table rows. The first cell of each is its heading.
 * @param {(Node | string)[][]} rows
 */
export function tableRows(rows) {
  return rows.map(([first, ...cells]) => {
    const heading = el("th", { scope: "row" }, first);
    return el("tr", {}, heading, ...cells.map((cell) => el("td", {}, cell)));
  });
}

/**
 * Create a table with a caption and column headings.
 * @param {string} caption
 * @param {string[]} headings
 * @param {(Node | string)[][]} rows
 */
export function table(caption, headings, rows) {
  const head = el("tr", {}, ...headings.map((textContent) => el("th", { scope: "col", textContent })));
  const body = el("tbody", {}, ...tableRows(rows));
  return el("table", {}, el("caption", { textContent: caption }), el("thead", {}, head), body);
}
