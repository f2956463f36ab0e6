// A block of code with its bar: what it is, what the guard said of it, and buttons that copy it or let a person edit it.

import { label, node, say } from "../words.js";
import { coloured, looksLikeSql } from "./colours.js";

export class CodeBlock {
  text = "";
  judged = false;
  #shown = null; // what was drawn last
  #about = []; // the dialect and the tables, once the guard has read it
  #code = node("code");
  #pre = node("pre", { dir: "ltr" }, [this.#code]);
  #kind = node("span", { class: "kind" });
  #verdict = node("span", { class: "verdict" });
  #edit = node("button", { class: "quiet small edit", type: "button" });

  /** `run(sql)`, where there is one, is called with a statement that a person edited. */
  constructor(language, text = "", run = null) {
    this.language = language.toLowerCase();
    this.run = run;
    const copy = copyButton(() => this.text.trimEnd());
    say(this.#edit, "edit");
    this.#edit.hidden = true;
    this.#edit.addEventListener("click", () => this.edit());
    this.element = node("figure", { class: "code" }, [
      node("figcaption", {}, [this.#kind, this.#verdict, this.#edit, copy]),
      this.#pre,
    ]);
    this.text = text;
    this.draw();
  }

  get isSql() {
    return /sql/.test(this.language) || (!this.language && looksLikeSql(this.text));
  }

  draw() {
    const kind = [this.isSql ? "SQL" : this.language, ...this.#about].join(" · ");
    if (this.#kind.textContent !== kind) this.#kind.textContent = this.#kind.title = kind;
    if (this.text === this.#shown) return;
    this.#shown = this.text;
    this.#code.replaceChildren(coloured(this.text.replace(/\n$/, ""), this.isSql ? "sql" : this.language));
  }

  /** What the guard said: `ok`, the `dialect` and `tables` it read, or the `reason` why not. */
  judge({ ok, dialect, tables, reason }) {
    this.judged = true;
    this.element.classList.remove("passed", "refused");
    this.element.classList.add(ok ? "passed" : "refused");
    this.element.querySelector(".why")?.remove();
    this.#about = [dialect, (tables ?? []).join(", ")].filter(Boolean);
    this.draw();
    this.#edit.hidden = !this.run;
    say(this.#verdict, ok ? "checked" : "refused");
    if (ok) return;
    const why = node("p", { class: "why", dir: "auto" }, [
      node("strong"),
      node("span", { "data-detail": reason ?? "" }),
    ]);
    say(why.firstChild, "refusedWhy");
    say(why.lastChild, "detail", reason ?? "");
    if (this.run) {
      const edit = node("button", { class: "quiet small", type: "button" });
      say(edit, "editRefused");
      edit.addEventListener("click", () => this.edit());
      why.append(edit);
    }
    this.element.append(why);
  }

  /** Whether this block is that statement, whatever its spaces, letters' case and last semicolon. */
  is(sql) {
    const bare = (text) => text.replace(/[\s;]+/g, "").toLowerCase();
    return this.isSql && bare(this.text) === bare(sql);
  }

  /** Puts a field in place of the statement; its text runs when the person says so. */
  edit() {
    if (this.element.querySelector("textarea")) return;
    const field = node("textarea", { spellcheck: "false", dir: "ltr", "data-label": "editStatement", rows: 1 });
    field.value = this.text.trimEnd();
    const run = node("button", { type: "button", class: "solid" });
    const cancel = node("button", { type: "button", class: "quiet" });
    say(run, "run");
    say(cancel, "cancel");
    const bar = node("div", { class: "choices" }, [cancel, run]);
    const close = () => {
      field.remove();
      bar.remove();
      this.#pre.hidden = false;
      if (!this.#edit.hidden) this.#edit.focus();
    };
    const start = () => {
      const sql = field.value.trim();
      close();
      if (sql) this.run(sql);
    };
    const grow = () => {
      field.style.height = "auto";
      field.style.height = `${field.scrollHeight + 2}px`;
    };
    run.addEventListener("click", start);
    cancel.addEventListener("click", close);
    field.addEventListener("input", grow);
    field.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) start();
      else if (event.key === "Escape") close();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    this.#pre.hidden = true;
    this.#pre.after(field, bar);
    label(this.element);
    grow();
    field.focus();
  }
}

/** A button that copies what `text()` gives, and says whether it did. */
export function copyButton(text, name = "copy") {
  const button = node("button", { class: "quiet small copy", type: "button", "data-tool": name });
  say(button, name);
  button.addEventListener("click", async () => {
    say(button, (await copied(text())) ? "copied" : "copyFailed");
    setTimeout(() => say(button, name), 1600);
  });
  return button;
}

/** Copies `text`; where `html` is there too, programs that take tables get it. Whether that worked. */
export async function copied(text, html = null) {
  try {
    if (html && window.ClipboardItem) {
      const blob = (type, part) => new Blob([part], { type });
      await navigator.clipboard.write([
        new ClipboardItem({ "text/plain": blob("text/plain", text), "text/html": blob("text/html", html) }),
      ]);
    } else await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Over plain HTTP from another machine there is no clipboard: the old way still works there.
    const field = node("textarea", { class: "unseen", text });
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}
