// What the server lets this browser do: its key, where it asks for one, and what it says about itself.

import { node, say } from "./words.js";

const KEY = "sluice-key";
const TICKET = "sluice-ticket";
const at = (id) => document.getElementById(id);

/** The server said no, with a status: `failure` is what it said, in the shape of a `failed` event. */
export class Refused extends Error {
  constructor(status, failure) {
    super(failure.message);
    this.status = status;
    this.failure = failure;
  }

  static async from(response) {
    const body = await response.json().catch(() => null);
    const seconds = Number(response.headers.get("Retry-After"));
    return new Refused(response.status, {
      code: body?.error?.code ?? "unreachable",
      message: body?.error?.message ?? `HTTP ${response.status}`,
      retryable: body?.error?.retryable ?? response.status >= 500,
      retry_after: body?.error?.retry_after ?? (seconds > 0 ? seconds : null),
      request_id: body?.error?.request_id ?? response.headers.get("X-Request-Id"),
    });
  }
}

// Storage may be forbidden; then a value holds until the page is left.
const memory = new Map();

/** The value kept under `name` in this tab or on this device, or null. */
export function kept(name) {
  try {
    return sessionStorage.getItem(name) ?? localStorage.getItem(name);
  } catch {
    return memory.get(name) ?? null;
  }
}

/** Keeps `value` under `name`, on this device or (`inTab`) in this tab only; null forgets it. */
export function keep(name, value, inTab = false) {
  try {
    sessionStorage.removeItem(name);
    localStorage.removeItem(name);
    if (value !== null) (inTab ? sessionStorage : localStorage).setItem(name, value);
  } catch {
    memory.set(name, value);
  }
}

// A page that embeds this one hands it a ticket in the address's fragment (#ticket=…), and a new one in the same way later.
// A fragment reaches no server; it is taken out of the address at once, and kept for this tab.
function takeTicket() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const ticket = fragment.get("ticket");
  if (!ticket) return;
  keep(TICKET, ticket, true);
  fragment.delete("ticket");
  history.replaceState(null, "", `${location.pathname}${location.search}${fragment.size ? `#${fragment}` : ""}`);
}
takeTicket();
addEventListener("hashchange", takeTicket);

/** The ticket that stands for a key here, or null. It opens what asks; the overview has its figures for a key alone. */
export const ticket = () => (location.pathname.startsWith("/admin") ? null : kept(TICKET));

/** `path` with the ticket that stands for a key, if there is one. */
export const through = (path, sent = ticket()) =>
  sent ? `${path}${path.includes("?") ? "&" : "?"}ticket=${encodeURIComponent(sent)}` : path;

/** The headers that carry the key; none where a ticket stands for it. */
export function headers() {
  const key = ticket() ? null : kept(KEY);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** JSON from the server; asks for the key where it is missing or refused. Throws Refused. */
export async function json(path, options = {}) {
  const response = await fetch(through(path), { ...options, headers: { ...headers(), ...options.headers } });
  if (response.status === 401 && (await askKey())) return json(path, options);
  if (!response.ok) throw await Refused.from(response);
  return response.status === 204 ? null : response.json();
}

/** Posts `body` as JSON. */
export const post = (path, body) =>
  json(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

/** Asks for the key; whether one was given. */
export function askKey() {
  const gate = at("gate");
  if (gate.open) return Promise.resolve(false);
  say(gate.querySelector("p"), kept(KEY) ? "keyWrong" : "keyWhy");
  at("gate-key").value = "";
  gate.returnValue = "";
  gate.showModal();
  return new Promise((resolve) =>
    gate.addEventListener("close", () => resolve(gate.returnValue === "given"), { once: true }),
  );
}

at("gate-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keep(KEY, at("gate-key").value.trim(), !at("gate-keep").checked);
  keep(TICKET, null);
  at("gate").close("given");
});
at("gate-cancel").addEventListener("click", () => at("gate").close());

/** Opens `dialog`; a click beside it closes it, as Escape does. */
export function openDialog(dialog) {
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.showModal();
}

/** A dialog with a title and a button that closes it; it is removed when it closes. */
export function dialog(kind, title, children) {
  const close = node("button", { type: "button", class: "quiet icon", "data-label": "close", text: "✕" });
  const heading = node("h2", { id: `${kind}-title` });
  say(heading, title);
  const box = node("dialog", { class: `panel ${kind}`, "aria-labelledby": `${kind}-title` }, [
    node("div", { class: "head" }, [heading, close]),
    ...children,
  ]);
  close.addEventListener("click", () => box.close());
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  openDialog(box);
  return box;
}
