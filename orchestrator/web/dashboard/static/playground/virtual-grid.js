// A grid of equal tiles of which only those near the visible part of the page exist as elements.

const GAP = 16;
const [MIN_TILE, MAX_TILE] = [152, 240];
/** Height of the caption below a square tile, in pixels. */
const CAPTION_HEIGHT = 52;
/** Rows above and below the visible part that exist too, so that Tab reaches the next tile. */
const SPARE_ROWS = 2;

/**
 * @template T
 * @typedef {object} GridOptions
 * @property {(item: T) => string} keyOf Items with the same key keep their element.
 * @property {(item: T) => HTMLElement} createNode
 * @property {() => void} onNearEnd Called when the last items come into view.
 */

/** @template T */
export class VirtualGrid {
  /**
   * @param {HTMLElement} list
   * @param {GridOptions<T>} options
   */
  constructor(list, { keyOf, createNode, onNearEnd }) {
    this.list = list;
    this.keyOf = keyOf;
    this.createNode = createNode;
    this.onNearEnd = onNearEnd;
    /** @type {T[]} */
    this.items = [];
    /** Whether more items may follow the last one. */
    this.hasMore = false;
    /** @type {Map<string, HTMLElement>} Elements in the page, by key. */
    this.nodes = new Map();
    this.frame = 0;
    for (const name of ["scroll", "resize"]) addEventListener(name, () => this.#renderSoon(), { passive: true });
    new ResizeObserver(() => this.#renderSoon()).observe(list);
  }

  /**
   * Show these items.
   * @param {T[]} items
   * @param {boolean} hasMore
   */
  show(items, hasMore) {
    this.items = items;
    this.hasMore = hasMore;
    this.render();
  }

  /**
   * Create the element of an item anew.
   * @param {string} key
   */
  refresh(key) {
    const node = this.nodes.get(key);
    const item = this.items.find((candidate) => this.keyOf(candidate) === key);
    if (!node || !item) return;
    const fresh = this.createNode(item);
    node.replaceWith(fresh);
    this.nodes.set(key, fresh);
    this.#number();
  }

  #renderSoon() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.render());
  }

  /** Create the elements that are near the visible part, and remove the others. */
  render() {
    const width = this.list.clientWidth;
    if (!width) return;
    const wanted = Math.min(Math.max(innerWidth * 0.18, MIN_TILE), MAX_TILE);
    const columns = Math.max(1, Math.floor((width + GAP) / (wanted + GAP)));
    const side = (width - (columns - 1) * GAP) / columns;
    const rowHeight = side + CAPTION_HEIGHT + GAP;
    const rows = Math.ceil(this.items.length / columns);
    const top = -this.list.getBoundingClientRect().top;
    const first = clamp(Math.floor(top / rowHeight) - SPARE_ROWS, 0, rows);
    const last = clamp(Math.ceil((top + innerHeight) / rowHeight) + SPARE_ROWS, first, rows);
    const { style } = this.list;
    style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
    style.gridAutoRows = `${rowHeight - GAP}px`;
    style.paddingTop = `${first * rowHeight}px`;
    style.paddingBottom = `${Math.max(rows - last, 0) * rowHeight}px`;
    this.#place(this.items.slice(first * columns, last * columns));
    this.firstIndex = first * columns;
    this.#number();
    if (this.hasMore && last >= rows - SPARE_ROWS) this.onNearEnd();
  }

  /**
   * Put the elements of these items into the page in this order. Elements that stay are not moved: a moved one
   * would lose the focus.
   * @param {T[]} items
   */
  #place(items) {
    const keys = new Set(items.map(this.keyOf));
    for (const [key, node] of this.nodes) {
      if (keys.has(key)) continue;
      node.remove();
      this.nodes.delete(key);
    }
    let next = this.list.firstElementChild;
    for (const item of items) {
      const key = this.keyOf(item);
      const node = this.nodes.get(key) ?? this.createNode(item);
      this.nodes.set(key, node);
      if (node === next) next = next.nextElementSibling;
      else this.list.insertBefore(node, next);
    }
  }

  /** Tell assistive technology where the elements are in the whole list. */
  #number() {
    const total = this.hasMore ? -1 : this.items.length;
    [...this.list.children].forEach((node, index) => {
      node.setAttribute("aria-setsize", String(total));
      node.setAttribute("aria-posinset", String((this.firstIndex ?? 0) + index + 1));
    });
  }
}

/**
 * @param {number} value
 * @param {number} least
 * @param {number} most
 */
const clamp = (value, least, most) => Math.min(Math.max(value, least), most);
