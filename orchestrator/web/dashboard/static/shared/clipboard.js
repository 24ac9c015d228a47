// Copying text to the clipboard.

/**
 * Copy the text of `node`, and say so on the button. Without HTTPS the browser offers no clipboard: then the
 * text is selected instead.
 * @param {HTMLElement} node
 * @param {HTMLButtonElement} button
 */
export async function copyText(node, button) {
  try {
    await navigator.clipboard.writeText(node.textContent ?? "");
    button.textContent = "Copied";
  } catch {
    getSelection()?.selectAllChildren(node);
    button.textContent = "Selected: press Ctrl+C to copy";
  }
  setTimeout(() => (button.textContent = "Copy"), 3000);
}
