// Elements of the document.

/** The element with an id. */
export const byId = (id) => document.getElementById(id);

/** Makes an element; strings among the children become text, so that nothing needs escaping. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** Saves a file. */
export function save(name, blob) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Shows errors next to fields: `show` one, or clear them all. */
export const errors = {
  show(name, message) {
    byId(`${name}-error`).textContent = message;
    byId(name).setAttribute("aria-invalid", "true");
  },
  clear() {
    for (const element of document.querySelectorAll(".error[role=alert]")) element.textContent = "";
    for (const element of document.querySelectorAll("[aria-invalid]")) element.removeAttribute("aria-invalid");
  },
};
