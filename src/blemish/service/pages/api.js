// Requests to the service. Errors are its own sentences; a page shows them as they are.

export const api = (path, query = {}) => {
  const known = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const words = new URLSearchParams(known);
  return `/api/${path}${words.size ? `?${words}` : ""}`;
};

export const who = {
  get: () => localStorage.getItem("blemish-who") ?? "",
  set: (name) => localStorage.setItem("blemish-who", name),
};

export async function get(path, query) {
  return answer(await fetch(api(path, query)).catch(unreachable));
}

export async function send(method, path, body) {
  const headers = { ...signed(), ...(body === undefined ? {} : { "Content-Type": "application/json" }) };
  const options = { method, headers, body: body === undefined ? undefined : JSON.stringify(body) };
  return answer(await fetch(api(path), options).catch(unreachable));
}

// `form`: files. `progress(share)`: how much of it has gone, which fetch does not tell.
export function upload(path, form, progress) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("POST", api(path));
    for (const [name, value] of Object.entries(signed())) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => event.total && progress(event.loaded / event.total));
    request.addEventListener("error", () => unreachable().catch(failed));
    request.addEventListener("load", () =>
      answer(new Response(request.response, { status: request.status })).then(done, failed),
    );
    request.responseType = "text";
    request.send(form);
  });
}

// Text of a binary answer, in base64.
export async function base64(path) {
  const response = await fetch(api(path)).catch(unreachable);
  if (!response.ok) return answer(response);
  const bytes = new Uint8Array(await response.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return btoa(text);
}

// Header values hold plain ASCII; the service reads names percent-encoded.
function signed() {
  const name = who.get().trim();
  return { "X-Blemish": "1", ...(name ? { "X-Blemish-Who": encodeURIComponent(name) } : {}) };
}

async function answer(response) {
  const text = await response.text();
  let body = null;
  try {
    body = text ? JSON.parse(text) : null;
  } catch {
    body = null; // not from the service, but from something before it
  }
  if (response.ok) return body;
  if (response.status === 401) location.assign("/login");
  const failed = new Error(body?.error ?? `The service answered ${response.status}. Look into its log.`);
  failed.status = response.status;
  throw failed;
}

async function unreachable() {
  throw new Error("The service does not answer. Is it still running? Start it again with blemish serve.");
}
