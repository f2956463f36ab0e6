// The page: what can be chosen, asking, stopping, and the conversation so far.

import { Refused, answer } from "./ask.js";
import { Turn } from "./turn.js";
import { label, language, node, say, speak, words } from "./words.js";

const HISTORY = 6; // earlier turns that go along with a follow-up question,
const HISTORY_CHARACTERS = 8000; // and as much of each
const STOP_MS = 1500; // how long a stopped answer may take to end by itself

const EXAMPLES = {
  zh: ["沈塘桥地铁站的信息", "哪些站可以换乘5号线", "哪个区的地铁站最多", "2024年3月8日进站人数最多的是哪个站"],
  en: ["Tell me about Shentangqiao station", "Which stations connect to Line 5?", "Which district has the most stations?",
    "Which station had the most entries on 2024-03-08?"],
};

const at = (id) => document.getElementById(id);
const [form, box, send, stop, provider, database] = ["form", "question", "send", "stop", "provider", "database"].map(at);

let state = { providers: [], databases: [], default: "", heartbeat_s: 10 };
let turns = [];
let running = null; // {turn, controller}

// ---- What can be chosen

async function refresh() {
  const response = await fetch("/page/state", { headers: headers() });
  if (response.status === 401) return (await askKey()) && refresh();
  if (!response.ok) throw await Refused.from(response);
  state = await response.json();
  offer();
}

function offer() {
  const [chosen, asked] = [provider.value || state.default, database.value || state.databases[0]?.name];
  provider.replaceChildren(...state.providers.map(option));
  provider.value = state.providers.some(({ name, available }) => name === chosen && available) ? chosen : state.default;
  database.replaceChildren(
    ...state.databases.map(({ name }) => node("option", { value: name, text: name })),
    node("option", { value: "none", text: words("noDatabase") }),
  );
  database.value = asked ?? "none";
  database.parentElement.hidden = state.databases.length === 0;
  examples();
  note();
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

function examples() {
  at("examples").hidden = !state.databases.some(({ name, demo }) => demo && name === database.value);
  const [own, other] = language() === "zh" ? ["zh", "en"] : ["en", "zh"];
  const shown = [...EXAMPLES[own].map((text) => [own, text]), ...EXAMPLES[other].slice(-2).map((text) => [other, text])];
  at("examples").firstElementChild.replaceChildren(
    ...shown.map(([lang, text]) => {
      const button = node("button", { type: "button", lang, text });
      button.addEventListener("click", () => ask(text));
      return node("li", {}, [button]);
    }),
  );
}

// ---- Asking

async function ask(question) {
  await loaded; // a question typed before the state came must wait for the list of databases
  if (running || !question.trim()) return;
  const chosen = provider.value;
  const turn = new Turn(question, chosen || state.default, () => again(turn));
  const fields = { question, language: /\p{Script=Han}/u.test(question) ? "zh" : "en" };
  // Not the default by its name: then the server may fall back to another one, as it is configured to.
  if (chosen && chosen !== state.default) fields.provider = chosen;
  if (state.databases.length) fields.database = database.value;
  const history = turns.filter(({ text, failed }) => text && !failed).slice(-HISTORY);
  if (history.length) fields.history = history.map(({ question, text }) => ({ question, answer: text.slice(0, HISTORY_CHARACTERS) }));

  turns.push(turn);
  at("turns").append(turn.element);
  running = { turn, controller: new AbortController() };
  box.value = "";
  show();
  turn.element.scrollIntoView({ block: "nearest" });
  say(at("status"), "answering");
  try {
    await follow(turn, fields, running.controller.signal);
  } catch (error) {
    if (running.controller.signal.aborted) turn.cancel();
    else turn.fail(error.failure ?? { code: "internal", message: String(error), retryable: true });
  }
  running = null;
  show();
  at("status").textContent = turn.summary;
  delete at("status").dataset.say;
  if (document.activeElement === document.body) focus(); // the button that had it is gone
  if (turn.failed) refresh().catch(() => {});
}

/** Gives `turn` its events; asks for the server's key where it wants one. */
async function follow(turn, fields, signal) {
  try {
    for await (const event of answer(fields, { headers, signal, silenceMs: 3000 * state.heartbeat_s })) {
      const near = scrollY + innerHeight > document.documentElement.scrollHeight - 80;
      turn.take(event);
      if (near) requestAnimationFrame(() => scrollTo({ top: document.documentElement.scrollHeight }));
    }
  } catch (error) {
    // The server refused the key before it asked a model, so sending the question again asks once.
    if (error.status === 401 && (await askKey())) return follow(turn, fields, signal);
    throw error;
  }
}

function again(turn) {
  if (running) return;
  turns = turns.filter((other) => other !== turn);
  turn.element.remove();
  ask(turn.question);
}

function halt() {
  if (!running) return;
  const { turn, controller } = running;
  stop.disabled = true;
  if (!turn.id) return controller.abort();
  // The server ends the answer and says so, with its usage; only if that does not come, we hang up.
  fetch(`/answers/${turn.id}`, { method: "DELETE", headers: headers(), keepalive: true }).catch(() => controller.abort());
  setTimeout(() => controller.abort(), STOP_MS);
}

function fresh() {
  halt();
  running?.controller.abort();
  turns = [];
  at("turns").replaceChildren();
  show();
  focus();
}

// ---- The key, where the server asks for one

const KEY = "sluice-key";

function headers() {
  const key = sessionStorage.getItem(KEY);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** Asks for the key; whether one was given. */
function askKey() {
  const gate = at("gate");
  if (gate.open) return Promise.resolve(false);
  say(gate.querySelector("p"), sessionStorage.getItem(KEY) ? "keyWrong" : "keyWhy");
  at("gate-key").value = "";
  gate.returnValue = "";
  gate.showModal();
  return new Promise((resolve) => gate.addEventListener("close", () => resolve(gate.returnValue === "given"), { once: true }));
}

at("gate-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, at("gate-key").value.trim());
  at("gate").close("given");
});
at("gate-cancel").addEventListener("click", () => at("gate").close());

// ---- The rest of the page

function show() {
  document.body.classList.toggle("empty", turns.length === 0);
  at("fresh").hidden = turns.length === 0;
  send.hidden = Boolean(running);
  stop.hidden = stop.disabled = !running;
  send.disabled = !box.value.trim();
  box.dataset.hint = turns.length ? "followUp" : "placeholder";
  label(document);
  grow();
}

/** Into the question, where that opens no keyboard over the page. */
function focus() {
  if (!matchMedia("(pointer: coarse)").matches) box.focus();
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
  // 229: Safari ends a composition before it tells of the key that ended it.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  ask(box.value);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing && !at("gate").open) halt();
});
stop.addEventListener("click", halt);
at("fresh").addEventListener("click", fresh);
provider.addEventListener("change", note);
database.addEventListener("change", examples);

const keep = (name, value) => {
  try {
    localStorage.setItem(name, value);
  } catch { /* storage may be forbidden; then it holds until the page is left */ }
};
at("language").addEventListener("click", () => {
  speak(language() === "zh" ? "en" : "zh");
  keep("sluice-language", language());
  offer();
});
at("theme").addEventListener("click", () => {
  const html = document.documentElement;
  const dark = html.dataset.theme ? html.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  html.dataset.theme = dark ? "light" : "dark";
  keep("sluice-theme", html.dataset.theme);
});

speak(language());
show();
focus();
const loaded = refresh().catch((error) => {
  at("note").hidden = false;
  say(at("note"), `failures.${error.failure?.code ?? "unreachable"}`);
});
