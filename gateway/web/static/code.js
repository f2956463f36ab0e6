// A block of code with its bar: what it is, what the guard said of it, and a button that copies it.

import { highlighted, looksLikeSql } from "./sql.js";
import { node, say } from "./words.js";

export class CodeBlock {
  text = "";
  judged = false;
  #drawn = 0;
  #about = []; // the dialect and the tables, once the guard has read it
  #code = node("code");
  #kind = node("span", { class: "kind" });
  #verdict = node("span", { class: "verdict" });

  constructor(language, text = "") {
    this.language = language.toLowerCase();
    const copy = node("button", { class: "quiet small", type: "button" });
    say(copy, "copy");
    copy.addEventListener("click", async () => {
      say(copy, (await copied(this.text.trimEnd())) ? "copied" : "copyFailed");
      setTimeout(() => say(copy, "copy"), 1600);
    });
    this.element = node("figure", { class: "code" }, [
      node("figcaption", {}, [this.#kind, this.#verdict, copy]),
      node("pre", { dir: "ltr" }, [this.#code]),
    ]);
    this.text = text;
    this.draw();
  }

  get isSql() {
    return /sql/.test(this.language) || (!this.language && looksLikeSql(this.text));
  }

  write(text) {
    this.text += text;
  }

  /** Shows the text and, after it, the line that is still being written. */
  draw(unfinished = "") {
    this.#kind.textContent = [this.isSql ? "SQL" : this.language, ...this.#about].join(" · ");
    this.#kind.title = this.#kind.textContent;
    const text = this.text + unfinished;
    if (text.length > 0 && text.length === this.#drawn) return;
    this.#drawn = text.length;
    const shown = text.replace(/\n$/, "");
    this.#code.replaceChildren(this.isSql ? highlighted(shown) : shown);
  }

  /** What the guard said: `ok`, the `dialect` and `tables` it read, or the reason why not. */
  judge({ ok, dialect, tables, reason }) {
    this.judged = true;
    this.element.classList.add(ok ? "passed" : "refused");
    this.#about = [dialect, (tables ?? []).join(", ")].filter(Boolean);
    this.#drawn = 0;
    this.draw();
    say(this.#verdict, ok ? "checked" : "refused");
    if (ok) return;
    const why = node("p", { class: "why", dir: "auto" }, [node("strong"), node("span", { text: reason ?? "" })]);
    say(why.firstChild, "refusedWhy");
    this.element.append(why);
  }

  /** Whether this block is that statement, whatever its spaces, letters' case and last semicolon. */
  is(sql) {
    const bare = (text) => text.replace(/[\s;]+/g, "").toLowerCase();
    return this.isSql && bare(this.text) === bare(sql);
  }
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
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
