// Markup that the report writes into its page as well: the dialogs of the large views.

const texts = new Map();

export async function load(...names) {
  await Promise.all(
    names.map(async (name) => {
      const response = await fetch(`/${name}`);
      if (!response.ok) throw new Error(`The service has no ${name} (${response.status}). Install blemish again.`);
      texts.set(name, await response.text());
    }),
  );
}

// A new element in the document.
export function fresh(name) {
  const parsed = new DOMParser().parseFromString(texts.get(name), "text/html");
  const element = document.adoptNode(parsed.body.firstElementChild);
  document.body.append(element);
  return element;
}
