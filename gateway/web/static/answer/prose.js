// A reply as it streams in: Markdown, drawn block by block. What is settled is never drawn again; only the last block is,
// while it is still being written.

import { CodeBlock } from "./code.js";
import { block, blocks } from "./markdown.js";

// A paragraph longer than this is settled up to its last line, so that drawing stays cheap.
const LONGEST_TAIL = 4000;
// Drawing takes at most this share of the time, however long the last block is.
const SHARE = 4;

/** Writes into `root`; `offer` is given to each CodeBlock. */
export class Prose {
  #codes = []; // every CodeBlock that was made, in their order
  #root;
  #offer;
  #text = ""; // from the beginning of the block that is not settled
  #tail = []; // that block's nodes
  #blocks = []; // the CodeBlocks among them, which stay the same while the block is drawn anew
  #next = 0; // performance.now() from which the tail is drawn again
  #later = 0;

  constructor(root, offer) {
    this.#root = root;
    this.#offer = offer;
  }

  write(text) {
    this.#text += text.replaceAll("\r\n", "\n");
    const now = performance.now();
    clearTimeout(this.#later);
    if (now < this.#next) {
      this.#later = setTimeout(() => this.#draw(), this.#next - now);
    } else this.#draw();
  }

  /** The code blocks that the guard has not judged yet; draws what has come first. */
  get unjudged() {
    this.flush();
    return this.#codes.filter(({ element, judged }) => element.isConnected && !judged);
  }

  /** Draws what has come. */
  flush() {
    clearTimeout(this.#later);
    this.#draw();
  }

  /** What comes next is another block, below what others put into `root` meanwhile; an open fence stays open. */
  settle() {
    if (!insideFence(this.#text)) this.end();
  }

  /** The reply ended: what was held back is shown. */
  end() {
    clearTimeout(this.#later);
    this.#draw(true);
  }

  #draw(over = false) {
    const began = performance.now();
    if (!over && this.#text.length > LONGEST_TAIL) this.#cut();
    const text = over ? this.#text : held(this.#text);
    const tokens = text ? blocks(text) : [];
    let last = tokens.length - 1;
    while (last > 0 && tokens[last].type === "space") last--;
    let settled = over ? tokens.length : Math.max(0, last);
    const rest = tokens
      .slice(settled)
      .map(({ raw }) => raw)
      .join("");
    // Where the reader changed a part of the text (tabs, spaces before a line's end) the place to cut is not certain.
    if (!text.endsWith(rest)) settled = 0;
    if (settled > 0) {
      this.#show(tokens.slice(0, settled));
      this.#text = over ? "" : this.#text.slice(text.length - rest.length);
      [this.#tail, this.#blocks] = [[], []];
    }
    if (!over) this.#show(tokens.slice(settled));
    this.#next = performance.now() + SHARE * (performance.now() - began);
  }

  /** Settles a very long paragraph up to its last line or word; lists, tables and code are left as they are. */
  #cut() {
    const [first, ...more] = blocks(this.#text);
    if (more.some(({ type }) => type !== "space") || first?.type !== "paragraph") return;
    const newline = this.#text.lastIndexOf("\n");
    const at = newline > 0 ? newline : this.#text.lastIndexOf(" ");
    const end = at > 0 ? at + 1 : this.#text.length;
    this.#show(blocks(this.#text.slice(0, end)));
    this.#text = this.#text.slice(end);
    [this.#tail, this.#blocks] = [[], []];
  }

  /** Draws `tokens` in place of the tail. */
  #show(tokens) {
    const kept = this.#blocks;
    let n = 0;
    this.#blocks = [];
    const code = ({ text, lang = "", raw }) => {
      const language = lang.trim().split(/\s+/)[0].toLowerCase();
      const same = kept[n++];
      const shown = same && same.language === language ? same : new CodeBlock(language, "", this.#offer);
      shown.text = raw.endsWith("\n") || !text ? text : text.replace(/\n?$/, "");
      shown.draw();
      this.#blocks.push(shown);
      if (shown !== same) this.#codes.push(shown);
      return shown.element;
    };
    const nodes = tokens.map((token) => block(token, code)).filter(Boolean);
    // A code block that goes on is not taken out and put back: what is selected in it stays selected.
    if (nodes.length === 1 && this.#tail.length === 1 && nodes[0] === this.#tail[0]) return;
    // In the place of the old tail: below it may stand what others put there, such as rows.
    const place = this.#tail.at(-1)?.nextSibling ?? null;
    for (const old of this.#tail) if (!nodes.includes(old)) old.remove();
    for (const fresh of nodes) this.#root.insertBefore(fresh, place);
    this.#tail = nodes;
  }
}

/**
 * `text` as it is shown while it streams: a mark at its end that is not complete is held back, and one that is open is
 * closed, so that nothing appears in one form and then changes into another.
 */
function held(text) {
  const start = text.lastIndexOf("\n") + 1;
  const line = text.slice(start);
  // In a code block only its closing fence is held back; outside, a fence with its language, which is known at the line's end.
  if (insideFence(text.slice(0, start))) return /^\s{0,3}(?:`+|~+)\s*$/.test(line) ? text.slice(0, start) : text;
  if (/^\s{0,3}(?:`{1,2}|`{3,}[^`]*|~~~.*|~{1,2})$/.test(line)) return text.slice(0, start);
  // A rule, a heading's mark, a list's mark.
  if (/^\s*(?:[-*+_=#]{1,3}|\d{1,3}[.)]?)$/.test(line)) return text.slice(0, start);
  const paragraph = text.slice(text.lastIndexOf("\n\n") + 1).trimStart();
  if (paragraph.startsWith("|") && !/\n\s*\|?[\s:|-]+\|[\s:|-]*\n/.test(paragraph))
    return text.slice(0, text.length - paragraph.length);
  return text.slice(0, start) + closed(line);
}

function insideFence(text) {
  let open = null;
  for (const [, fence, info] of text.matchAll(/(?:^|\n)\s{0,3}(`{3,}|~{3,})([^\n]*)/g)) {
    if (!open) open = fence;
    else if (fence.startsWith(open) && !info.trim()) open = null;
  }
  return open !== null;
}

/** A line with its last, unfinished mark held back and its open marks closed. */
function closed(line) {
  let shown = line.replace(/(?:\*+|`+|~+|\\|\$|!?\[[^\]\n]*|!?\[[^\]\n]*\]\([^)\n]*)$/, (mark) =>
    // The text of a link shows while its address is still coming.
    mark.includes("[") ? (/^!?\[([^\]]*)/.exec(mark)?.[1] ?? "") : "",
  );
  const ticks = (shown.match(/`/g) ?? []).length;
  if (ticks % 2) {
    const at = shown.lastIndexOf("`");
    return at === shown.length - 1 ? shown.slice(0, -1) : `${shown}\``;
  }
  const bold = (shown.match(/\*\*/g) ?? []).length;
  if (bold % 2) shown = shown.endsWith("**") ? shown.slice(0, -2) : `${shown.trimEnd()}**`;
  return shown;
}
