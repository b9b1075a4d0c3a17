// Small words for the document. Texts from file names become text nodes and attributes, never HTML.

export const find = (selector, within = document) => within.querySelector(selector);
export const findAll = (selector, within = document) => [...within.querySelectorAll(selector)];

// make("a", { class: "path", href, style: { "--aspect": 1.5 } }, "text", element): true is an empty attribute; false,
// null and undefined are none. Styles are set one by one, which a strict content policy allows.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name === "style")
      for (const [property, each] of Object.entries(value)) element.style.setProperty(property, each);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Whether a key was pressed alone: with Ctrl, Alt or Meta it is the browser's.
export const alone = (event) => !event.ctrlKey && !event.metaKey && !event.altKey;

// Text to the clipboard, told on the button; where pages may not write there, it is selected for Ctrl+C.
export async function copy(source, button) {
  const words = button.textContent;
  if (words === "Copied") return;
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = words), 1500);
  } catch {
    getSelection().selectAllChildren(source);
  }
}
