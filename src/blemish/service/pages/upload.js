// Files that were dropped or chosen, whole folders among them, sent in parts that a server takes at once.
import { send, upload } from "./api.js";

const PART = 64 * 2 ** 20; // bytes of one request, about
const FILES = 50; // of one request

// All files of a drop, as {file, path}. Must be called while the event is handled: what was dropped is gone afterwards.
export function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  const root = entries.length === 1 && entries[0].isDirectory ? entries[0].name : "";
  return { name: root, files: Promise.all(entries.map((entry) => within(entry, ""))).then((found) => found.flat()) };
}

// Files of an input; of one for folders with their place in it.
export function chosen(input) {
  const files = [...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
  const root = files[0]?.path.includes("/") ? files[0].path.split("/")[0] : "";
  return { name: root, files: Promise.resolve(files) };
}

async function within(entry, above) {
  if (entry.isFile) {
    const file = await new Promise((done, failed) => entry.file(done, failed));
    return [{ file, path: above + entry.name }];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed)); // a hundred at a time
    if (!some.length) break;
    found.push(...some);
  }
  return (await Promise.all(found.map((each) => within(each, `${above}${entry.name}/`)))).flat();
}

// A data set of these files. The outermost folder's name is the data set's, not a part of the paths. `told(done, total)`
// in bytes. Returns the data set and what was refused.
export async function sent({ name, files }, told) {
  const all = (await files).filter(({ path }) => !path.split("/").some((part) => part.startsWith(".")));
  if (!all.length)
    throw new Error("There is no file in what was given. Give a folder of photos, photos, or a zip of them.");
  const within = all.map(({ file, path }) => ({
    file,
    path: name && path.startsWith(`${name}/`) ? path.slice(name.length + 1) : path,
  }));
  const total = within.reduce((sum, { file }) => sum + file.size, 0) || 1;
  const title = name || (all.length === 1 ? all[0].path.replace(/\.zip$/i, "") : `${all.length} files`);
  let dataset = await send("POST", "datasets", { name: title.slice(0, 120) });
  const refused = [];
  let done = 0;
  for (const part of parts(within)) {
    const form = new FormData();
    for (const { file, path } of part) form.append("files", file, path);
    const size = part.reduce((sum, { file }) => sum + file.size, 0);
    const answer = await upload(`datasets/${dataset.id}/files`, form, (share) => told(done + share * size, total));
    done += size;
    told(done, total);
    refused.push(...answer.refused);
    dataset = answer.dataset;
  }
  return { dataset, refused };
}

function* parts(files) {
  let [part, size] = [[], 0];
  for (const each of files) {
    if (part.length && (part.length === FILES || size + each.file.size > PART)) {
      yield part;
      [part, size] = [[], 0];
    }
    part.push(each);
    size += each.file.size;
  }
  yield part;
}
