// What a page's own server does: it adds the key, passes /chat on, and keeps what was said, here in the tab's storage.
const parameters = new URLSearchParams(location.search);
const base = parameters.get("sluice");
const fetched = window.fetch;

window.fetch = (address, options = {}) => {
  const headers = new Headers(options.headers);
  headers.set("Authorization", `Bearer ${parameters.get("key")}`);
  if (options.method === "POST") sessionStorage.setItem("said", JSON.stringify(JSON.parse(options.body).messages));
  return fetched(new URL(address, base), { ...options, headers });
};

export const said = () => JSON.parse(sessionStorage.getItem("said") ?? "[]");
export const id = parameters.get("chat");
