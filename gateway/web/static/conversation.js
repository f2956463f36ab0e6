// The conversation on the page: asking, stopping, what is kept of it on the device, and how a reload goes on.

import { askKey, json, keep, kept, post } from "./access.js";
import { answer, everyRow, newKey, statement } from "./ask.js";
import { Turn } from "./answer/turn.js";
import { load, record, remove, removeTurn, save, saveTurn } from "./store.js";
import { label, words } from "./words.js";

const HISTORY = 6; // earlier turns that go along with a follow-up question,
const HISTORY_CHARACTERS = 8000; // and as much of each
const STOP_MS = 1500; // how long a stopped answer may take to end by itself
const SAVE_MS = 400; // how often a running answer is kept
const CURRENT = "sluice-conversation"; // in this tab: what a reload shows again
const TITLE_CHARACTERS = 60;

export class Conversation {
  /** Each {turn, kept}: what is on the page, and its record in the store. */
  turns = [];
  running = null; // {turn, controller}
  #about = null; // the conversation's own record
  #place;
  #page;

  /** `place` holds the turns; `page` is the page around: state(), changed(), say(text), chosen(). */
  constructor(place, page) {
    this.#place = place;
    this.#page = page;
  }

  get id() {
    return this.#about?.id ?? null;
  }

  get last() {
    return this.turns.at(-1)?.turn ?? null;
  }

  /** Asks `question` with what is chosen on the page, or with `more` in place of it. */
  async ask(question, more = {}) {
    if (this.running || !question.trim()) return;
    const { provider, database, state } = this.#page.chosen();
    const fields = { question, language: /\p{Script=Han}/u.test(question) ? "zh" : "en" };
    // Not the default by its name: then the server may fall back to another one, as it is configured to.
    if (provider && provider !== state.default) fields.provider = provider;
    if (state.databases.length) fields.database = database;
    const history = this.turns
      .map(({ turn }) => turn)
      .filter(({ text, failed }) => text && !failed)
      .slice(-HISTORY);
    if (history.length)
      fields.history = history.map(({ question, text }) => ({ question, answer: text.slice(0, HISTORY_CHARACTERS) }));
    Object.assign(fields, more);
    if (!this.#about) {
      this.#about = { id: newKey(), title: question.trim().slice(0, TITLE_CHARACTERS), updated: Date.now() };
      keep(CURRENT, this.#about.id, true);
    }
    this.#about.updated = Date.now();
    save(this.#about);
    const now = {
      conversation: this.#about.id,
      n: (this.turns.at(-1)?.kept.n ?? 0) + 1,
      question,
      asked: fields.provider ?? state.default,
      fields,
      key: newKey(),
      id: null,
      seen: 0,
      began: Date.now(),
      events: [],
      over: false,
    };
    await this.#follow(this.#add(now), now);
  }

  #add(now) {
    const turn = new Turn(
      now.question,
      now.asked,
      this.#can(now, () => turn),
    );
    this.turns.push({ turn, kept: now });
    this.#place.append(turn.element);
    return turn;
  }

  /** What a turn offers; what the server or its database cannot do is not offered. */
  #can(now, turn) {
    const { state } = this.#page.chosen();
    const database = state.databases.find(({ name }) => name === now.fields.database);
    const rate = async (body) => {
      try {
        await post("/feedback", { id: now.id, ...body });
        return null;
      } catch (error) {
        return error.failure ?? { message: words("failures.unreachable") };
      }
    };
    return {
      retry: () => this.#again(turn()),
      followUp: (question) => this.ask(question),
      explain: (sql) => this.ask(words("explainQuestion", sql), { database: "none" }),
      minutes: Math.round((state.log_age_s ?? 600) / 60),
      link: () => `${location.origin}/#answer=${now.id}&q=${encodeURIComponent(now.question)}`,
      run: state.sql && database?.execute ? (sql) => this.#run(turn(), sql, database.name) : null,
      all: state.sql && database?.execute && database.export_rows ? (sql) => everyRow(sql, database.name) : null,
      zone: database?.timezone,
      rate: database?.remembers ? (right) => rate({ right }) : null,
      correct: database?.remembers ? (sql) => rate({ sql }) : null,
    };
  }

  async #follow(turn, now) {
    this.running = { turn, controller: new AbortController() };
    const { signal } = this.running.controller;
    this.#page.changed();
    turn.element.scrollIntoView({ block: "nearest" });
    this.#page.say(words("answering"));
    try {
      await this.#events(turn, now, signal);
    } catch (error) {
      if (signal.aborted) turn.cancel();
      else turn.fail(error.failure ?? { code: "internal", message: String(error), retryable: true });
      this.#keep(now, {
        name: signal.aborted ? "stopped" : "failed",
        data: error.failure ?? { code: "internal", message: String(error), retryable: true },
      });
    }
    if (!turn.failed) turn.suggest(this.#followUps(turn, now));
    label(turn.element);
    if (this.running?.turn !== turn) return; // another conversation is on the page by now
    this.running = null;
    this.#page.changed();
    this.#page.say(turn.summary);
    if (turn.failed) this.#page.refresh();
  }

  /** Gives `turn` its events; asks for the server's key where it wants one. */
  async #events(turn, now, signal) {
    const silenceMs = 3000 * this.#page.chosen().state.heartbeat_s;
    let saved = 0;
    try {
      for await (const event of answer(now.fields, { signal, silenceMs, key: now.key, id: now.id, seen: now.seen })) {
        const near = scrollY + innerHeight > document.documentElement.scrollHeight - 80;
        turn.take(event);
        if (event.name === "known") {
          now.id = event.data.id;
          saveTurn(now);
        } else if (event.n) {
          now.seen = event.n;
          record(now, event);
          now.over = event.name === "done" || event.name === "failed";
          if (now.over || Date.now() - saved > SAVE_MS) {
            saved = Date.now();
            saveTurn(now);
          }
        }
        if (near) requestAnimationFrame(() => scrollTo({ top: document.documentElement.scrollHeight }));
      }
    } catch (error) {
      // The server refused the key before it asked a model, so sending the question again asks once.
      if (error.status === 401 && (await askKey())) return this.#events(turn, now, signal);
      throw error;
    }
  }

  #keep(now, event) {
    now.over = true;
    now.events.push(event);
    saveTurn(now);
  }

  /** Keeps what has come of a running answer, when the page may be left. */
  flush() {
    const now = this.turns.find(({ turn }) => turn === this.running?.turn)?.kept;
    if (now && !now.over) saveTurn(now);
  }

  #followUps(turn, { fields }) {
    const { state, provider } = this.#page.chosen();
    const demo = state.providers.find(({ name }) => name === (provider || state.default))?.demo;
    if (demo || !turn.shape || fields.database === "none") return [];
    const { columns, rows, truncated } = turn.shape;
    const hasTime = columns.some(
      ({ type, name }) => /date|time/i.test(type ?? "") || /date|month|year|日期|月|年/i.test(name),
    );
    return [
      rows.length > 5 && "followTop",
      rows.length > 1 && !hasTime && "followTrend",
      hasTime && "followCompare",
      truncated && "followCount",
    ]
      .filter(Boolean)
      .slice(0, 3);
  }

  #again(turn) {
    if (this.running) return;
    const at = this.turns.findIndex((other) => other.turn === turn);
    const [{ kept: now }] = this.turns.splice(at, 1);
    turn.element.remove();
    removeTurn(now);
    this.ask(turn.question, now.fields.database ? { database: now.fields.database } : {});
  }

  async #run(turn, sql, database) {
    this.#page.say(words("running"));
    await turn.rerun(sql, statement(sql, database, 3000 * this.#page.chosen().state.heartbeat_s));
    label(turn.element);
    this.#page.say(words("ran"));
  }

  /** Stops the running answer. */
  halt() {
    if (!this.running) return;
    const { turn, controller } = this.running;
    if (!turn.id) return controller.abort();
    // The server ends the answer and says so, with its usage; only if that does not come, the page closes the stream.
    json(`/answers/${turn.id}`, { method: "DELETE", keepalive: true }).catch(() => controller.abort());
    setTimeout(() => controller.abort(), STOP_MS);
  }

  /** Leaves this conversation and begins another, which is empty. */
  clear() {
    this.halt();
    this.running?.controller.abort();
    this.running = null;
    this.turns = [];
    this.#about = null;
    keep(CURRENT, null);
    this.#place.replaceChildren();
    this.#page.changed();
  }

  /** Shows a conversation that was kept, and goes on with its last answer if that had not ended. */
  async open(about) {
    if (about.id === this.id) return;
    this.clear();
    const records = await load(about.id);
    if (!records.length) return;
    this.#about = about;
    keep(CURRENT, about.id, true);
    for (const now of records) this.#replay(this.#add(now), now);
    this.#page.changed();
    const last = this.turns.at(-1);
    label(this.#place);
    last.turn.element.scrollIntoView({ block: "nearest" });
    if (!last.kept.over) await this.#resume(last.turn, last.kept);
  }

  #replay(turn, now) {
    turn.replayed = true;
    if (now.id) turn.take({ name: "known", data: { id: now.id } });
    for (const event of now.events) {
      if (event.name === "stopped") turn.cancel();
      else turn.take(structuredClone(event));
    }
    if (!now.over && now !== this.turns.at(-1).kept) turn.cancel();
  }

  async #resume(turn, now) {
    const age_s = (Date.now() - now.began) / 1000;
    // The server forgets a key some time after the answer's end; sent again after that, it would ask a second time.
    if (!now.id && age_s > (this.#page.chosen().state.log_age_s ?? 600)) {
      turn.fail({ code: "not_found", message: "", retryable: true });
      return this.#keep(now, { name: "failed", data: { code: "not_found", message: "", retryable: true } });
    }
    await this.#follow(turn, now);
  }

  /** Shows the conversation that stood here before a reload, if there was one. */
  async restore(conversations) {
    const about = conversations.find(({ id }) => id === kept(CURRENT));
    if (about) await this.open(about);
  }

  /** Shows an answer that a link names, for as long as the server has it. */
  async openLink(id, question) {
    this.clear();
    this.#about = { id: newKey(), title: (question || id).slice(0, TITLE_CHARACTERS), updated: Date.now() };
    const now = {
      conversation: this.#about.id,
      n: 1,
      question: question || words("linkedAnswer"),
      asked: null,
      fields: { question },
      key: null,
      id,
      seen: 0,
      began: Date.now(),
      events: [],
      over: false,
    };
    save(this.#about);
    keep(CURRENT, this.#about.id, true);
    await this.#follow(this.#add(now), now);
  }

  /** The conversation's name on this device. */
  async rename(about, title) {
    const named = about.id === this.id ? this.#about : about;
    named.title = title.slice(0, TITLE_CHARACTERS);
    await save(named);
  }

  /** Forgets a conversation; the one on the page is cleared too. */
  async forget(about) {
    if (about.id === this.id) this.clear();
    await remove(about.id);
  }
}

/** A conversation as a Markdown document, from its turns' records. */
export function markdown({ title }, turns) {
  const parts = [`# ${title}`];
  for (const { question, events } of turns) {
    parts.push(`## ${question}`);
    const reply = events
      .filter(({ name }) => name === "message")
      .map(({ data }) => data.text)
      .join("")
      .trim();
    if (reply) parts.push(reply);
    const statement = events.findLast(({ name, data }) => name === "sql" && data.ok)?.data.sql;
    if (statement && !reply.includes(statement)) parts.push(`\`\`\`sql\n${statement}\n\`\`\``);
    const rows = events.findLast(({ name }) => name === "rows")?.data;
    if (rows) parts.push(grid(rows));
    const failure = events.find(({ name }) => name === "failed")?.data;
    if (failure) parts.push(`> ${words(`failures.${failure.code}`)}: ${failure.message}`);
  }
  return `${parts.join("\n\n")}\n`;
}

function grid({ columns, rows }) {
  const cell = (value) =>
    (value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value))
      .replace(/\|/g, "\\|")
      .replace(/\r?\n/g, " ");
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [
    line(columns.map(({ name }) => cell(name))),
    line(columns.map(() => "---")),
    ...rows.map((row) => line(row.map(cell))),
  ].join("\n");
}
