// Numbers, times and sizes in words.

export const plural = (count, word, many = `${word}s`) => `${count.toLocaleString("en")} ${count === 1 ? word : many}`;

export const fixed = (value, digits) => (value === null || value === undefined ? "" : value.toFixed(digits));

export function span(seconds) {
  if (seconds < 1.5) return "a second";
  if (seconds < 90) return `${Math.round(seconds)} seconds`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} minutes`;
  return `${(seconds / 3600).toFixed(1)} hours`;
}

export function bytes(count) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (count >= 1000 && at < units.length - 1) [count, at] = [count / 1000, at + 1];
  return `${at && count < 10 ? count.toFixed(1) : Math.round(count)} ${units[at]}`;
}

const SHORT = { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" };
export const moment = (iso) => (iso ? new Date(iso).toLocaleString("en-GB", SHORT) : "");

// ", 90 % interval 0.31 to 0.36"
export const interval = (low, high, digits) =>
  low === null || high === null ? "" : `, 90 % interval ${fixed(low, digits)} to ${fixed(high, digits)}`;
