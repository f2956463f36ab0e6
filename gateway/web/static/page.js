// The page: what can be chosen, the field for the question, and the buttons around them. The conversation itself is loaded
// after this, so that the field can be used as soon as it is seen.

import { json, keep } from "./access.js";
import { label, language, node, say, speak, words } from "./words.js";

const at = (id) => document.getElementById(id);
const [form, box, send, stop, provider, database] = ["form", "question", "send", "stop", "provider", "database"].map(
  at,
);

let state = { providers: [], databases: [], default: "", heartbeat_s: 10 };
let conversation = null;

// ---- What can be chosen

async function refresh() {
  state = await json("/page/state");
  offer();
}

function offer() {
  const asked =
    database.value ||
    remembered(
      "database",
      state.databases.map(({ name }) => name),
    ) ||
    state.databases[0]?.name;
  const usable = state.providers.filter(({ available }) => available).map(({ name }) => name);
  const chosen = provider.value || remembered("provider", usable) || state.default;
  provider.replaceChildren(...state.providers.map(option));
  provider.value = usable.includes(chosen) ? chosen : state.default;
  database.replaceChildren(
    ...state.databases.map(({ name }) => node("option", { value: name, text: name })),
    node("option", { value: "none", text: words("noDatabase") }),
  );
  database.value = asked ?? "none";
  database.parentElement.hidden = state.databases.length === 0;
  examples();
  note();
}

/** What was chosen here before, if it can still be chosen. */
function remembered(name, among) {
  let value = null;
  try {
    value = localStorage.getItem(`sluice-${name}`);
  } catch {
    /* storage may be forbidden; then nothing is remembered */
  }
  return value === "none" || among.includes(value) ? value : null;
}

function option({ name, model, available, reason }) {
  const text = [name, model].filter((part, n, all) => part && part !== all[n - 1]).join(" · ");
  const shown = node("option", { value: name, text: name === state.default ? words("isDefault", text) : text });
  if (!available) {
    shown.disabled = true;
    shown.textContent = words("unavailable", text, reason);
  }
  return shown;
}

function note() {
  const chosen = state.providers.find(({ name }) => name === provider.value);
  const text = !chosen?.available ? "noProviders" : chosen.demo ? "demoNote" : null;
  at("note").hidden = !text;
  if (text) say(at("note"), text);
}

/** The database's own first questions: those of its examples file, or ones about its tables. */
function examples() {
  const chosen = state.databases.find(({ name }) => name === database.value);
  const own = language() === "zh" ? "zh" : "en";
  const all = chosen?.examples ?? [];
  // In the reader's language first, then two of the other.
  const shown = [...all.filter(({ lang }) => lang === own), ...all.filter(({ lang }) => lang !== own).slice(-2)];
  at("tables").hidden = !chosen;
  at("examples").hidden = !chosen;
  at("examples").firstElementChild.replaceChildren(
    ...shown.map(({ lang, text }) => {
      const button = node("button", { type: "button", class: "chip", lang, text });
      button.addEventListener("click", () => ask(text));
      return node("li", {}, [button]);
    }),
  );
}

// ---- Asking

async function ask(question) {
  if (!question.trim() || conversation?.running) return;
  box.value = "";
  grow();
  await loaded; // a question typed before the state came must wait for the list of databases
  await (await ready).ask(question);
}

// ---- The rest of the page

const page = {
  chosen: () => ({ provider: provider.value, database: database.value, state }),
  refresh: () => refresh().catch(() => {}),
  say: (text) => (at("status").textContent = text),
  changed() {
    const turns = conversation?.turns ?? [],
      running = Boolean(conversation?.running);
    document.body.classList.toggle("empty", turns.length === 0);
    at("fresh").hidden = turns.length === 0;
    send.hidden = running;
    stop.hidden = stop.disabled = !running;
    send.disabled = !box.value.trim();
    box.dataset.hint = turns.length ? "followUp" : "placeholder";
    label(document);
    grow();
    if (document.activeElement === document.body) focus(); // the button that had it is gone
  },
};

/** Puts the cursor into the question, where that opens no keyboard over the page. */
function focus() {
  if (!matchMedia("(pointer: coarse)").matches) box.focus({ preventScroll: true });
}

function grow() {
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  ask(box.value);
});
box.addEventListener("input", () => {
  send.disabled = !box.value.trim();
  grow();
});
box.addEventListener("keydown", (event) => {
  // 229: Safari ends a composition before it reports the key that ended it.
  if (event.isComposing || event.keyCode === 229) return;
  if (event.key === "ArrowUp" && !box.value && conversation?.last) {
    box.value = conversation.last.question;
    box.dispatchEvent(new Event("input"));
  } else if (event.key === "Enter" && !event.shiftKey) ask(box.value);
  else return;
  event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing && !document.querySelector("dialog[open]")) {
    stop.disabled = true;
    conversation?.halt();
  }
});
stop.addEventListener("click", () => {
  stop.disabled = true;
  conversation?.halt();
});
at("fresh").addEventListener("click", () => {
  conversation.clear();
  focus();
});
at("history").addEventListener("click", async () => {
  const { showHistory } = await import("./history.js");
  showHistory(await ready);
});
at("tables").addEventListener("click", async () => {
  const { showSchema } = await import("./schema.js");
  showSchema(database.value);
});
provider.addEventListener("change", () => {
  keep("sluice-provider", provider.value);
  note();
});
database.addEventListener("change", () => {
  keep("sluice-database", database.value);
  examples();
});
at("language").addEventListener("click", () => {
  speak(language() === "zh" ? "en" : "zh");
  keep("sluice-language", language());
  document.dispatchEvent(new Event("sluice-language"));
  offer();
});
at("theme").addEventListener("click", () => {
  const html = document.documentElement;
  const dark = html.dataset.theme ? html.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  html.dataset.theme = dark ? "light" : "dark";
  keep("sluice-theme", html.dataset.theme);
});
for (const name of ["visibilitychange", "pagehide"]) document.addEventListener(name, () => conversation?.flush());

speak(language());
page.changed();
focus();
const loaded = refresh().catch((error) => {
  at("note").hidden = false;
  // The reader who closed the dialog without a key sees how to come back to it.
  say(at("note"), error.status === 401 ? "keyMissing" : `failures.${error.failure?.code ?? "unreachable"}`);
  at("open-gate").hidden = error.status !== 401;
});
at("open-gate").addEventListener("click", () => {
  at("open-gate").hidden = true;
  refresh().catch(() => (at("open-gate").hidden = false));
});
const ready = Promise.all([import("./conversation.js"), import("./store.js")]).then(
  async ([{ Conversation }, { list }]) => {
    conversation = new Conversation(at("turns"), page);
    await loaded;
    const link = new URLSearchParams(location.hash.slice(1));
    if (link.has("answer")) {
      history.replaceState(null, "", "/");
      conversation.openLink(link.get("answer"), link.get("q"));
    } else conversation.restore(await list());
    return conversation;
  },
);
