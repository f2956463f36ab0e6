// One question and its answer, as far as it has come.

import { CodeBlock } from "./code.js";
import { Prose } from "./prose.js";
import { table } from "./table.js";
import { label, node, say, words } from "./words.js";

export class Turn {
  /** The reply so far, for the history of the next question. */
  text = "";
  finished = false;
  id = null;
  #rows = null;
  #prose;
  #pending = "";
  #frame = 0;
  #began = performance.now();

  /** `retry` is called when the person asks to try again; `asked` names the provider that was asked. */
  constructor(question, asked, retry) {
    this.question = question;
    this.asked = asked;
    this.retry = retry;
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
    this.#prose = new Prose(this.body);
  }

  /** One event of the answer. */
  take({ name, data }) {
    if (name !== "message") this.#write();
    if (name !== "waiting" && name !== "known") this.#heard(name);
    switch (name) {
      case "known": this.id = data.id; break;
      case "waiting": say(this.wait, "waiting"); this.wait.hidden = false; break;
      case "start": this.#started(data); break;
      case "message": this.#message(data.text); break;
      case "reasoning": this.#reasoned(data.text); break;
      case "sql": this.#judged(data); break;
      case "rows": this.#result(data); break;
      case "done": this.#done(data); break;
      case "failed": this.fail(data); break;
    }
  }

  #heard(name) {
    if (name !== "start") this.wait.hidden = true;
    else say(this.wait, "thinking");
  }

  #started({ provider, model }) {
    const who = node("strong");
    if (this.asked && provider !== this.asked) say(who, "answeredInstead", provider, this.asked);
    else who.textContent = provider;
    this.by.replaceChildren(who, node("span", { text: model && model !== provider ? named(model) : "" }));
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
      // Whoever opens or closes it has decided; the beginning of the reply no longer closes it.
      this.reasoning.firstChild.addEventListener("click", () => this.reasoning.classList.add("kept"));
    }
    this.thoughts.append(text);
  }

  #judged(data) {
    const [before, written] = [this.block, this.#prose.code];
    if (written && !written.judged && written.is(data.sql)) {
      this.block = written;
    } else {
      this.block = new CodeBlock("sql", data.sql);
      this.body.append(this.block.element);
      if (written && !written.judged) this.#above("ran");
    }
    if (before) this.#above("corrected"); // an answer has one statement, unless the model was asked again
    this.block.judge(data);
  }

  #above(name) {
    this.block.element.before(node("p", { class: "aside", "data-say": name, text: words(name) }));
  }

  #result(data) {
    this.#rows = data.rows.length;
    const result = table(data, `sluice-${this.id ?? "answer"}`);
    label(result);
    if (this.block) {
      this.block.element.classList.add("answered");
      this.block.element.after(result);
    } else this.body.append(result);
  }

  #done({ finish_reason, usage, timing }) {
    this.#end();
    if (finish_reason === "cancelled") this.#aside("stopped");
    if (finish_reason === "length" || finish_reason === "content_filter") this.#aside(finish_reason);
    const parts = [];
    const part = (name, ...values) => {
      const span = node("span");
      say(span, name, ...values);
      parts.push(span);
    };
    if (usage) part("tokens", usage.prompt_tokens, usage.completion_tokens);
    if (usage?.cached_tokens) part("cached", usage.cached_tokens);
    if (timing?.first_token) part("firstToken", duration(timing.first_token));
    part("whole", duration(performance.now() - this.#began));
    const line = node("p", { class: "usage" }, parts);
    line.title = Object.entries(timing ?? {}).map(([name, ms]) => `${words(`timings.${name}`) || name} ${duration(ms)}`).join(" · ");
    this.answer.append(line);
  }

  /** The answer ends here as a failure, in the shape of a `failed` event. */
  fail({ code, message, retryable, retry_after, request_id }) {
    this.#write();
    this.#end();
    this.failed = true;
    const title = node("strong");
    say(title, words(`failures.${code}`) ? `failures.${code}` : "failures.internal");
    const facts = node("p", { class: "usage" }, [node("code", { text: code })]);
    if (request_id) facts.append(node("span", { "data-say": "requestId", "data-values": JSON.stringify([request_id]), text: words("requestId", request_id) }));
    this.failure = node("div", { class: "failure" }, [title, node("p", { dir: "auto", text: message }), facts]);
    if (retryable) {
      const again = node("button", { type: "button", class: "solid" });
      if (retry_after) say(again, "retryIn", Math.ceil(retry_after));
      else say(again, "retry");
      again.addEventListener("click", () => this.retry());
      this.failure.append(again);
    }
    this.answer.append(this.failure);
  }

  /** The person stopped it and the server's own end did not come. */
  cancel() {
    if (this.finished) return;
    this.#write();
    this.#end();
    this.#aside("stopped");
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

// The model of a local provider may be a path; its last part is shown.
const named = (model) => (model.startsWith("/") ? model.split("/").at(-1) : model);
const duration = (ms) => (ms < 995 ? `${Math.max(1, Math.round(ms))} ms` : `${(ms / 1000).toFixed(1)} s`);
