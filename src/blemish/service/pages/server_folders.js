// Folders of the server that may be scanned, gone through in a dialog.
import { get } from "./api.js";
import { make } from "./dom.js";
import { tried } from "./notices.js";
import { plural } from "./words.js";

// Resolves to a path, or to null where nothing was chosen.
export function folderChooser() {
  return new Promise((done) => {
    const trail = []; // folders above
    const title = make("h2", { id: "folders-title" }, "A folder of the server");
    const where = make("p", { class: "path" }, make("bdi"));
    const list = make("ul", { class: "folders" });
    const scan = make(
      "button",
      { type: "submit", value: "scan", class: "primary", disabled: true },
      "Scan this folder",
    );
    const up = make("button", { type: "button", disabled: true }, "Up");
    const cancel = make("button", { type: "submit", value: "" }, "Cancel");
    const form = make(
      "form",
      { method: "dialog" },
      title,
      where,
      list,
      make("div", { class: "row" }, up, cancel, scan),
    );
    const dialog = make("dialog", { class: "small", "aria-labelledby": "folders-title" }, form);
    let now = null;

    async function show(path) {
      const found = await tried(() => get("folders", { path }));
      if (!found) return;
      now = found.path;
      where.firstChild.textContent = found.path === null ? "" : `${found.path} (${plural(found.photos, "photo")})`;
      scan.disabled = found.path === null;
      up.disabled = !trail.length;
      const lines = found.folders.map((folder) => {
        const button = make("button", { type: "button" }, make("bdi", {}, folder.name));
        button.addEventListener("click", () => {
          trail.push(now);
          show(folder.path);
        });
        return make("li", {}, button);
      });
      list.replaceChildren(...(lines.length ? lines : [make("li", { class: "muted" }, "No folder in it.")]));
      list.querySelector("button")?.focus();
    }

    up.addEventListener("click", () => show(trail.pop()));
    dialog.addEventListener("close", () => {
      dialog.remove();
      done(dialog.returnValue === "scan" ? now : null);
    });
    document.body.append(dialog);
    dialog.showModal();
    show(null);
  });
}
