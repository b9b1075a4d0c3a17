// The rows of a run's photos, most unusual first, asked for in pages when they come in sight.
import { get } from "./api.js";

const PAGE = 100;

// `filter`: verdict, family, q. `came()`: more rows are there. Returns at(item), which is undefined until it has come.
export function rowsOf(run, filter, came) {
  const pages = new Map(); // number -> rows
  const asked = new Map(); // number -> when they are there
  let total = null;
  let closed = false;

  function ask(page) {
    if (!asked.has(page)) {
      const coming = fetched(page);
      asked.set(page, coming);
      coming.catch(() => asked.delete(page)); // the next look asks again
    }
    return asked.get(page);
  }

  async function fetched(page) {
    const given = await get(`runs/${run}/photos`, { ...filter, offset: page * PAGE, limit: PAGE });
    if (closed) return;
    pages.set(page, given.rows);
    total = given.total;
    came();
  }

  function at(item) {
    const page = Math.floor(item / PAGE);
    if (!pages.has(page)) ask(page).catch(() => {});
    return pages.get(page)?.[item % PAGE];
  }

  // The same, once it has come; undefined beyond the last.
  async function later(item) {
    if (item < 0 || (total !== null && item >= total)) return undefined;
    const page = Math.floor(item / PAGE);
    if (!pages.has(page)) await ask(page);
    return pages.get(page)?.[item % PAGE];
  }

  const known = (pid) => {
    for (const [page, rows] of pages) {
      const found = rows.findIndex((row) => row.pid === pid);
      if (found >= 0) return page * PAGE + found;
    }
    return null;
  };

  return { first: () => ask(0), at, later, known, total: () => total, close: () => (closed = true) };
}
