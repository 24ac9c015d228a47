// Copying what was made for it.

// The text of `node`; `button` says that it is done. Without https there is no clipboard: it is marked then.
export async function copyTo(node, button) {
  try {
    await navigator.clipboard.writeText(node.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(node);
    button.textContent = "Selected: copy it by hand";
  }
  setTimeout(() => (button.textContent = "Copy"), 3000);
}
