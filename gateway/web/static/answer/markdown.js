// Markdown's tokens as nodes. marked only reads the text; what it finds becomes elements and text nodes here, so a model's
// text never becomes markup that it wrote itself.

import { Marked } from "../vendor/marked.js";
import { node } from "../words.js";

const LONGEST_FORMULA = 2000;
const SCHEMES = new Set(["http:", "https:", "mailto:"]);

// CommonMark takes ** after a Chinese full stop or colon for text; people and models mean bold.
const strong = {
  name: "strong",
  level: "inline",
  start: (text) => text.indexOf("**"),
  tokenizer(text) {
    const found = /^\*\*(?=[^\s*])((?:[^*\n]|\*(?!\*))*?[^\s*])\*\*(?!\*)/.exec(text);
    return found && { type: "strong", raw: found[0], text: found[1], tokens: this.lexer.inlineTokens(found[1]) };
  },
};
const inlineFormula = {
  name: "formula",
  level: "inline",
  start: (text) => text.search(/\$|\\\(|\\\[/),
  tokenizer(text) {
    const found = /^\$\$([^$]+?)\$\$|^\\\[([^]+?)\\\]|^\\\(([^]+?)\\\)|^\$(?!\s)([^$\n]*?[^\s$\\])\$(?!\d)/.exec(text);
    if (!found) return undefined;
    const display = found[1] ?? found[2];
    return { type: "formula", raw: found[0], tex: display ?? found[3] ?? found[4], display: display !== undefined };
  },
};
const blockFormula = {
  name: "formula",
  level: "block",
  start: (text) => text.search(/(?:^|\n)(?:\$\$|\\\[)/),
  tokenizer(text) {
    const found = /^(?:\$\$([^$]+?)\$\$|\\\[([^]+?)\\\])[ \t]*(?:\n|$)/.exec(text);
    return found && { type: "formula", raw: found[0], tex: found[1] ?? found[2], display: true };
  },
};

const reader = new Marked({ gfm: true, breaks: true, extensions: null });
reader.use({ extensions: [strong, inlineFormula] });
reader.use({ extensions: [blockFormula] });

/** The block tokens of `text`; `raw` is each one's part of it. Text that cannot be read is one paragraph. */
export function blocks(text) {
  try {
    return reader.lexer(text);
  } catch {
    // Thousands of nested quotes or lists go deeper than the reader can follow.
    return [{ type: "paragraph", raw: text, tokens: [{ type: "text", text, plain: true }] }];
  }
}

/** The node of one block token, or null where there is nothing to show; `code(token)` gives the node of a code block. */
export function block(token, code) {
  const inside = (tokens) => tokens.map((part) => block(part, code)).filter(Boolean);
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "heading":
      // The question is a heading of level 2; those of its answer are below it. Models begin with level 1, 2 or 3.
      return node(`h${Math.min(6, Math.max(3, token.depth + 1))}`, { dir: "auto" }, inline(token.tokens));
    case "paragraph":
      return node("p", { dir: "auto" }, inline(token.tokens));
    case "text":
      return node("span", {}, inline(token.tokens ?? [token]));
    case "checkbox":
      return node("span", { class: "checkbox", text: token.checked ? "☑ " : "☐ " });
    case "code":
      return code(token);
    case "blockquote":
      return node("blockquote", {}, inside(token.tokens));
    case "list":
      return node(
        token.ordered ? "ol" : "ul",
        token.ordered && token.start !== 1 ? { start: token.start } : {},
        token.items.map((item) => node("li", { dir: "auto" }, inside(item.tokens))),
      );
    case "table":
      return table(token);
    case "hr":
      return node("hr");
    case "formula":
      return formula(token);
    default:
      return node("p", { dir: "auto", text: token.raw });
  }
}

function table({ header, rows, align }) {
  const cell =
    (name) =>
    ({ tokens }, n) =>
      node(
        name,
        { dir: "auto", class: align[n] === "right" ? "number" : align[n] === "center" ? "middle" : "" },
        inline(tokens),
      );
  const grid = node("table", {}, [
    node("thead", {}, [node("tr", {}, header.map(cell("th")))]),
    node(
      "tbody",
      {},
      rows.map((row) => node("tr", {}, row.map(cell("td")))),
    ),
  ]);
  return node("div", { class: "scroller prose-table", tabindex: 0, role: "region", "data-label": "tableInText" }, [
    grid,
  ]);
}

function inline(tokens) {
  return tokens.flatMap((token) => {
    const inside = () => inline(token.tokens);
    switch (token.type) {
      case "strong":
        return [node("strong", {}, inside())];
      case "em":
        return [node("em", {}, inside())];
      case "del":
        return [node("del", {}, inside())];
      case "codespan":
        return [node("code", { text: token.text })];
      case "br":
        return [node("br")];
      case "link":
        return link(token, inside);
      case "image":
        return link(token, () => [`🖼 ${token.text || token.href}`]);
      case "formula":
        return [formula(token)];
      case "escape":
        return [token.text];
      case "html":
        return [token.raw];
      case "text":
        return token.tokens ? inside() : [token.plain ? token.text : characters(token.text)];
      default:
        return [token.raw];
    }
  });
}

/** A link that says where it leads and opens apart from the page; anything but http, https and mailto is text. */
function link({ href, raw, autolink }, inside) {
  let rest = "";
  if (autolink) {
    // A bare address ends where Chinese text or punctuation begins.
    const end = href.search(/[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]/);
    if (end > 0) {
      [href, rest] = [href.slice(0, end), href.slice(end)];
      inside = () => [href];
    }
  }
  let url;
  try {
    url = new URL(href);
  } catch {
    /* relative, or none at all: it would lead to this server */
  }
  if (!url || !SCHEMES.has(url.protocol)) return [raw];
  return [
    node(
      "a",
      { href: url.href, title: url.href, target: "_blank", rel: "noopener noreferrer nofollow", class: "external" },
      inside(),
    ),
    rest,
  ];
}

const NAMED = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
  nbsp: "\u00a0",
  hellip: "…",
  mdash: "—",
  ndash: "–",
  times: "×",
  rarr: "→",
  larr: "←",
  le: "≤",
  ge: "≥",
  ne: "≠",
  copy: "©",
};

/** `text` with its character references replaced, those that models write. */
function characters(text) {
  return text.replace(/&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|(\w{2,8}));/g, (whole, decimal, hex, name) => {
    if (name) return NAMED[name] ?? whole;
    const point = decimal ? Number(decimal) : parseInt(hex, 16);
    return point > 0 && point <= 0x10ffff && !(point >= 0xd800 && point <= 0xdfff)
      ? String.fromCodePoint(point)
      : "\ufffd";
  });
}

let temml = null;

/** A formula: its source until Temml is loaded, then MathML. Source that Temml cannot read stays as it is. */
function formula({ tex, display, raw }) {
  const holder = node("span", { class: display ? "formula display" : "formula", dir: "ltr", text: raw.trim() });
  if (tex.length > LONGEST_FORMULA) return holder;
  const show = (library) => {
    try {
      const drawn = node("span");
      library.render(tex, drawn, {
        displayMode: display,
        throwOnError: true,
        trust: false,
        maxExpand: 200,
        maxSize: [20, 20],
      });
      holder.replaceChildren(...drawn.childNodes);
    } catch {
      /* the source is shown */
    }
  };
  if (temml) show(temml);
  else {
    import("../vendor/temml.js").then(
      (module) => {
        temml = module.default;
        show(temml);
      },
      () => {},
    );
  }
  return holder;
}
