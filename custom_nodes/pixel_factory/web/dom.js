// Elements and dialogs. Texts of graphs and of the service are set as text, never as markup.

/** Create an element. Properties that begin with `on` are listeners; null children are left out. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else if (name in element && name !== "list") {
      element[name] = value;
    } else {
      element.setAttribute(name, value);
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Create a labelled control. */
export function field(label, control, hint = "") {
  return el(
    "label",
    { className: "pf-field" },
    el("span", { textContent: label }),
    control,
    hint ? el("small", { textContent: hint }) : null,
  );
}

/** Create a section with a heading; null without content. */
export function section(title, ...content) {
  const shown = content.flat().filter(Boolean);
  return shown.length ? el("section", {}, el("h3", { textContent: title }), shown) : null;
}

/** Create a folded section. */
export function folded(title, ...content) {
  return el("details", {}, el("summary", { textContent: title }), ...content);
}

/** Create a list of texts. */
export function textList(texts, className = "") {
  return el("ul", { className }, texts.map((text) => el("li", { textContent: text })));
}

/** Open a modal dialog with a title, and return its body and footer. It is removed when it is closed. */
export function openDialog(title) {
  const body = el("div", { className: "pf-body" });
  const footer = el("footer", {});
  const close = el("button", {
    type: "button",
    className: "pf-close",
    textContent: "×",
    ariaLabel: "Close",
    onclick: () => dialog.close(),
  });
  const heading = el("h2", { id: "pf-title", textContent: title });
  const dialog = el(
    "dialog",
    { className: "pixel-factory", tabIndex: -1 },
    el("header", {}, heading, close),
    body,
    footer,
  );
  dialog.setAttribute("aria-labelledby", "pf-title");
  document.body.append(dialog);
  keepKeys(dialog);
  dialog.showModal();
  return { dialog, body, footer };
}

/** Keep keys from the shortcuts of the canvas, such as Delete, until the dialog is closed. */
function keepKeys(dialog) {
  for (const event of ["keydown", "keyup", "paste", "copy", "cut"]) {
    dialog.addEventListener(event, (happened) => happened.stopPropagation());
  }
  // Without a focused element, as while a button is disabled, keys go to the page.
  const catchKey = (event) => {
    if (event.key === "Escape") {
      event.preventDefault();
      event.stopImmediatePropagation();
      dialog.close();
    } else if (!dialog.contains(event.target)) {
      event.stopImmediatePropagation();
    }
  };
  window.addEventListener("keydown", catchKey, { capture: true });
  dialog.addEventListener("close", () => {
    window.removeEventListener("keydown", catchKey, { capture: true });
    dialog.remove();
  });
}

/** Create a button that is disabled, and says so, while its action runs. */
export function actionButton(label, action, className = "") {
  const button = el("button", { type: "button", textContent: label, className });
  button.addEventListener("click", async () => {
    button.disabled = true;
    button.ariaBusy = "true";
    try {
      await action();
    } finally {
      button.disabled = false;
      button.ariaBusy = null;
      if (!document.activeElement || document.activeElement === document.body) {
        document.querySelector("dialog.pixel-factory")?.focus();
      }
    }
  });
  return button;
}

/** Create a box with a message: `pf-error`, `pf-warning` or `pf-done`. */
export function messageBox(text, className) {
  return el("p", { className: `pf-message ${className}`, textContent: text });
}
