// One question and its answer, as far as it has come.

import { label, node, say, words } from "../words.js";
import { CodeBlock, copyButton } from "./code.js";
import { Prose } from "./prose.js";
import { result } from "./result.js";

export class Turn {
  /** The reply so far, for the history of the next question. */
  text = "";
  finished = false;
  failed = false;
  id = null;
  /** The last statement that passed the guard, or null. */
  sql = null;
  #rows = null;
  #prose;
  #pending = "";
  #frame = 0;
  #began = performance.now();

  /**
   * `asked` names the provider that was asked. `can` holds what the page does for a turn, each absent where it cannot:
   * retry(), run(sql), all(sql), explain(sql), rate(right), correct(sql), link(), followUp(text); `minutes` a link lasts,
   * `zone` is the database's.
   */
  constructor(question, asked, can) {
    this.question = question;
    this.asked = asked;
    this.can = can;
    this.by = node("p", { class: "by" });
    this.wait = node("p", { class: "wait" });
    this.thoughts = node("pre", { dir: "auto" });
    this.reasoning = node("details", { class: "reasoning" }, [node("summary"), this.thoughts]);
    this.body = node("div", { class: "prose" });
    this.answer = node("article", { class: "answer running" }, [this.by, this.reasoning, this.body, this.wait]);
    const you = node("span", { class: "unseen" });
    this.element = node("li", { class: "turn" }, [
      node("h2", { class: "asked" }, [you, node("span", { class: "words", dir: "auto", text: question })]),
      this.answer,
    ]);
    say(you, "you");
    say(this.wait, "thinking");
    say(this.reasoning.firstChild, "reasoning");
    this.reasoning.hidden = true;
    this.#prose = new Prose(this.body, can.run);
  }

  /** One event of the answer. */
  take({ name, data }) {
    if (name !== "message") this.#write();
    if (name !== "waiting" && name !== "known") this.#heard(name);
    switch (name) {
      case "known":
        this.id = data.id;
        break;
      case "waiting":
        say(this.wait, "waiting");
        this.wait.hidden = false;
        break;
      case "start":
        this.#started(data);
        break;
      case "message":
        this.#message(data.text);
        break;
      case "reasoning":
        this.#reasoned(data.text);
        break;
      case "sql":
        this.#judged(data);
        break;
      case "correcting":
        this.#correcting();
        break;
      case "rows":
        this.#result(data);
        break;
      case "done":
        this.#done(data);
        break;
      case "failed":
        this.fail(data);
        break;
    }
  }

  #heard(name) {
    if (name !== "start") this.wait.hidden = true;
    else say(this.wait, "thinking");
  }

  #started({ id, provider, model, adjusted }) {
    this.id ??= id;
    const who = node("strong");
    if (this.asked && provider !== this.asked) say(who, "answeredInstead", provider, this.asked);
    else who.textContent = provider;
    this.by.replaceChildren(who, node("span", { text: model && model !== provider ? named(model) : "" }));
    if (adjusted?.length)
      this.by.append(
        node("span", { class: "adjusted", title: adjusted.join("\n"), text: "±", "data-label": "adjusted" }),
      );
  }

  #message(text) {
    if (!this.text) this.reasoning.open = this.reasoning.classList.contains("kept") && this.reasoning.open;
    this.text += text;
    this.#pending += text;
    // Once a frame, however many tokens came in it.
    this.#frame ||= requestAnimationFrame(() => this.#write());
  }

  #write() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (this.#pending) this.#prose.write(this.#pending);
    this.#pending = "";
  }

  #reasoned(text) {
    if (this.reasoning.hidden) {
      this.reasoning.hidden = false;
      this.reasoning.open = true;
      // A person who opens or closes it has decided; the beginning of the reply no longer closes it.
      this.reasoning.firstChild.addEventListener("click", () => this.reasoning.classList.add("kept"));
    }
    this.thoughts.append(text);
  }

  #correcting() {
    say(this.wait, "correcting");
    this.wait.hidden = false;
  }

  #judged(data) {
    const before = this.block;
    const written = this.#prose.unjudged.filter(({ isSql }) => isSql);
    // The database may refuse what the guard let pass: the same statement is judged once more.
    const same = written.find((block) => block.is(data.sql)) ?? (before?.is(data.sql) ? before : null);
    if (same) {
      this.block = same;
    } else {
      this.block = new CodeBlock("sql", data.sql, this.can.run);
      this.#prose.settle();
      this.body.append(this.block.element);
      if (written.length) this.#above("ran");
    }
    if (before && before !== this.block && before.element.classList.contains("refused")) this.#above("corrected");
    this.block.judge(data);
    if (data.ok) this.sql = data.sql;
  }

  #above(name) {
    this.block.element.before(node("p", { class: "aside", "data-say": name, text: words(name) }));
  }

  #result(data) {
    this.#rows = data.rows.length;
    const shown = this.#shown(data, "", this.sql);
    label(shown);
    if (this.block) {
      this.block.element.classList.add("answered");
      this.block.element.after(shown);
    } else this.body.append(shown);
    this.shape = data;
  }

  #shown(data, suffix, sql) {
    const all = this.can.all && sql && (() => this.can.all(sql));
    return result(data, `sluice-${this.id ?? "answer"}${suffix}`, { zone: this.can.zone, all });
  }

  #done({ finish_reason, usage, timing, sql_found }) {
    this.#end();
    if (finish_reason === "cancelled") this.#aside("stopped");
    if (finish_reason === "length" || finish_reason === "content_filter") this.#aside(finish_reason);
    if (sql_found === false) this.#aside("noSqlFound");
    const parts = [];
    const part = (name, ...values) => {
      const span = node("span");
      say(span, name, ...values);
      parts.push(span);
    };
    if (usage) part("tokens", usage.prompt_tokens, usage.completion_tokens);
    if (usage?.cached_tokens) part("cached", usage.cached_tokens);
    if (timing?.first_token) part("firstToken", duration(timing.first_token));
    if (!this.replayed) part("whole", duration(performance.now() - this.#began));
    const line = node("p", { class: "usage" }, parts);
    line.title = Object.entries(timing ?? {})
      .map(([name, ms]) => `${words(`timings.${name}`) || name} ${duration(ms)}`)
      .join(" · ");
    this.answer.append(line, this.#tools());
  }

  /** What can be done with a complete answer. */
  #tools() {
    const tools = node("div", { class: "tools" });
    const tool = (name, act) => {
      const button = node("button", { type: "button", class: "quiet small", "data-tool": name });
      say(button, name);
      button.addEventListener("click", () => act(button));
      tools.append(button);
      return button;
    };
    if (this.text) tools.append(copyButton(() => this.text, "copyAnswer"));
    if (this.can.link && this.id) {
      const link = copyButton(() => this.can.link(), "copyLink");
      link.addEventListener("click", () => this.#say(words("linkLasts", this.can.minutes)));
      tools.append(link);
    }
    if (this.can.retry) tool("askAgain", () => this.can.retry());
    if (this.can.explain && this.sql) tool("explain", () => this.can.explain(this.sql));
    if (this.can.rate && this.sql && this.#rows !== null) this.#thumbs(tool);
    return tools;
  }

  #thumbs(tool) {
    const both = [
      ["right", true],
      ["wrong", false],
    ].map(([name, right]) =>
      tool(name, async () => {
        const failure = await this.can.rate(right);
        for (const button of both)
          button.setAttribute("aria-pressed", String(!failure && button.dataset.tool === name));
        this.#say(failure ? failure.message : words(right ? "thanksRight" : "thanksWrong"));
      }),
    );
  }

  /** A sentence under the answer, in place of the one before. */
  #say(text) {
    this.answer.querySelector(".said")?.remove();
    this.answer.append(node("p", { class: "aside said", role: "status", text }));
  }

  /** The answer ends here as a failure, in the shape of a `failed` event. */
  fail(failure) {
    this.#write();
    this.#end();
    this.failed = true;
    this.failure = failureBox(failure, this.can.retry);
    this.answer.append(this.failure);
  }

  /** The person stopped it and the server's own end did not come. */
  cancel() {
    if (this.finished) return;
    this.#write();
    this.#end();
    this.#aside("stopped");
  }

  /** A statement that a person edited: shown below the answer with what the guard says and its rows, from `events`. */
  async rerun(sql, events) {
    const block = new CodeBlock("sql", sql, this.can.run);
    const title = node("p", { class: "aside" });
    say(title, "edited");
    const part = node("div", { class: "prose edited" }, [title, block.element]);
    this.answer.append(part);
    part.scrollIntoView({ block: "nearest" });
    try {
      for await (const { name, data } of events) {
        if (name === "sql") {
          block.judge(data);
          if (data.ok) this.sql = data.sql;
        } else if (name === "rows") {
          const shown = this.#shown(data, "-edited", this.sql);
          label(shown);
          block.element.classList.add("answered");
          block.element.after(shown);
          if (this.can.correct && this.id) part.append(this.#keep(sql));
        } else if (name === "failed") part.append(failureBox(data, null));
      }
    } catch (error) {
      const failure = error.failure ?? { code: "internal", message: String(error) };
      // A refusal before the first event is a plain HTTP error.
      if (failure.code === "sql_refused") block.judge({ ok: false, reason: failure.message });
      else part.append(failureBox(failure, null));
    }
  }

  #keep(sql) {
    const button = node("button", { type: "button", class: "quiet small keep" });
    say(button, "keepCorrection");
    button.addEventListener("click", async () => {
      const failure = await this.can.correct(sql);
      button.disabled = !failure;
      if (failure) this.#say(failure.message);
      else say(button, "kept");
    });
    return button;
  }

  /** Questions that may follow, each a button that asks. */
  suggest(questions) {
    if (!questions.length || !this.can.followUp) return;
    this.answer.append(
      node(
        "div",
        { class: "follow-ups", role: "group", "data-label": "followUps" },
        questions.map((name) => {
          const button = node("button", { type: "button", class: "chip" });
          say(button, name);
          button.addEventListener("click", () => this.can.followUp(words(name)));
          return button;
        }),
      ),
    );
  }

  #aside(name) {
    this.answer.append(node("p", { class: "aside", "data-say": name, text: words(name) }));
  }

  #end() {
    this.finished = true;
    this.#prose.end();
    this.wait.hidden = true;
    this.answer.classList.remove("running");
  }

  /** The sentence that a screen reader speaks when the answer ends. */
  get summary() {
    if (!this.failure) return words("done", this.#rows);
    return [...this.failure.querySelectorAll("strong, p:not(.usage)")].map((part) => part.textContent).join(". ");
  }
}

/** A failure as a person reads it: what it means, its details, its code, and a way to ask again where that may help. */
export function failureBox({ code, message, retryable, retry_after, request_id }, retry) {
  const title = node("strong");
  // A provider that is given a rest is the model service's trouble, not this server's load.
  const meaning = code === "overloaded" && message.startsWith("provider ") ? "breaker" : code;
  say(title, `failures.${meaning}`);
  const details = node("p", { dir: "auto" });
  say(details, "detail", message);
  const facts = node("p", { class: "usage" }, [node("code", { text: code })]);
  if (request_id)
    facts.append(
      node("span", {
        "data-say": "requestId",
        "data-values": JSON.stringify([request_id]),
        text: words("requestId", request_id),
      }),
    );
  const box = node("div", { class: "failure" }, [title, details, facts]);
  // The model may write another statement next time, so a refused one is worth asking again too.
  if ((retryable || code.startsWith("sql_")) && retry) {
    const again = node("button", { type: "button", class: "solid" });
    if (retry_after) say(again, "retryIn", Math.ceil(retry_after));
    else say(again, retryable ? "retry" : "askAgain");
    again.addEventListener("click", () => retry());
    box.append(again);
  }
  return box;
}

// The model of a local provider may be a path; its last part is shown.
const named = (model) => (model.startsWith("/") ? model.split("/").at(-1) : model);
const duration = (ms) => (ms < 995 ? `${Math.max(1, Math.round(ms))} ms` : `${(ms / 1000).toFixed(1)} s`);
