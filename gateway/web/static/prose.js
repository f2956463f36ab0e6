// A reply as it streams in: paragraphs, `inline code`, **strong** and fenced code, built as nodes and never as markup.

import { CodeBlock } from "./code.js";
import { node } from "./words.js";

const FENCE = /^\s{0,3}(`{3,}|~{3,})\s*([\w+#-]*)/;
const INLINE = /(`+)([^`\n](?:[^\n]*?[^`])?)\1(?!`)|\*\*([^\s*](?:[^*\n]*[^\s*])?)\*\*/g;
// A line that is still being written is drawn anew with each piece; past this length its beginning is settled.
const LONGEST_TAIL = 1000;

/** Writes into `root`; `code` is the last fenced block, a CodeBlock, or null. */
export class Prose {
  code = null;
  #root;
  #open = null; // the fence that must be closed: its sign and length
  #paragraph = null;
  #tail = null; // a span at the end of the paragraph, for the unfinished line
  #line = "";

  constructor(root) {
    this.#root = root;
  }

  write(text) {
    const lines = (this.#line + text).split("\n");
    this.#line = lines.pop();
    for (const line of lines) this.#finish(line, "\n");
    this.#preview();
  }

  /** The reply ended: what was held back is shown. */
  end() {
    if (this.#line) this.#finish(this.#line, "");
    this.#line = "";
    this.#settle();
    this.code?.draw();
  }

  #finish(line, end) {
    const fence = FENCE.exec(line);
    if (this.#open) {
      if (fence && fence[1].startsWith(this.#open) && !fence[2]) this.#open = null;
      else this.code.write(line + end);
    } else if (fence) {
      this.#settle();
      this.#paragraph = null;
      this.#open = fence[1];
      this.code = new CodeBlock(fence[2]);
      this.#root.append(this.code.element);
    } else if (line.trim() === "") {
      this.#settle();
      this.#paragraph = null;
    } else {
      this.#show(line);
      this.#settle();
      this.#paragraph.append(end);
    }
  }

  #preview() {
    const line = this.#line;
    // It may yet become a fence; shown as text first, it would flicker.
    const held = /^\s{0,3}(`{1,}|~{1,})[\w+#-]*$/.test(line);
    if (this.#open) {
      this.code.draw(held ? "" : line);
    } else if (held) {
      return;
    } else if (line.length > LONGEST_TAIL) {
      this.#show(line);
      this.#settle();
      this.#line = "";
    } else if (line) this.#show(line);
  }

  #show(line) {
    if (!this.#paragraph) this.#root.append((this.#paragraph = node("p", { dir: "auto" })));
    if (!this.#tail) this.#paragraph.append((this.#tail = node("span")));
    this.#tail.replaceChildren(...inline(line));
  }

  #settle() {
    this.#tail?.replaceWith(...this.#tail.childNodes);
    this.#tail = null;
  }
}

function* inline(line) {
  const heading = /^#{1,6}\s+(.+)/.exec(line);
  if (heading) return yield node("strong", { text: heading[1] });
  let from = 0;
  for (const match of line.matchAll(INLINE)) {
    if (match.index > from) yield line.slice(from, match.index);
    yield match[2] ? node("code", { text: match[2].trim() || match[2] }) : node("strong", { text: match[3] });
    from = match.index + match[0].length;
  }
  if (from < line.length) yield line.slice(from);
}
