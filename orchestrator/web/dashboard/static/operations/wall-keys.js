// The wall by keyboard: arrow keys choose an instance, letters act on it.

/** @import { InstanceAction, InstanceCard } from "./instance-card.js" */

/** @type {Record<string, InstanceAction>} */
const ACTION_KEYS = { d: "drain", r: "resume", x: "restart" };
/** @type {Record<string, number>} */
const STEPS = { ArrowRight: 1, ArrowLeft: -1 };

/**
 * Handle the keys of the list.
 * @param {HTMLElement} list
 * @param {(id: string) => InstanceCard | undefined} findCard
 * @param {{ run: (id: string, action: InstanceAction) => void, showLog: (id: string) => void }} actions
 */
export function handleKeys(list, findCard, actions) {
  list.addEventListener("keydown", (event) => {
    const node = event.target;
    if (!(node instanceof HTMLLIElement) || event.ctrlKey || event.metaKey || event.altKey) return;
    const card = findCard(node.dataset.id ?? "");
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const action = ACTION_KEYS[key];
    if (key.startsWith("Arrow")) focusNeighbour(list, node, key);
    else if (card && action && card.can(action)) actions.run(card.id, action);
    else if (card && key === "l") actions.showLog(card.id);
    else return;
    event.preventDefault();
  });
}

/**
 * Focus the next card in the direction of an arrow key.
 * @param {HTMLElement} list
 * @param {HTMLLIElement} node
 * @param {string} key
 */
function focusNeighbour(list, node, key) {
  const cards = [...list.children];
  const columns = cards.filter((card) => card.getBoundingClientRect().top === cards[0].getBoundingClientRect().top).length;
  const step = STEPS[key] ?? (key === "ArrowDown" ? columns : -columns);
  const next = cards[cards.indexOf(node) + step];
  if (next instanceof HTMLElement) next.focus();
}
