// SQL in colour, as text nodes in spans.

const KEYWORDS = new Set(
  `all and any as asc between by case cast collate count cross current_date current_timestamp create delete desc
  distinct drop else end escape except exists extract false fetch filter first following for from full glob group
  having ilike in inner insert intersect interval into is join last lateral left like limit natural not null nulls
  offset on or order outer over partition preceding range recursive right row rows select set similar some table then
  to true unbounded union unique update using values when where window with within`.split(/\s+/),
);

// In this order: comment, string, quoted name, number, word (with the bracket that makes it a call), any other sign.
// Each alternative eats at least one character and none can match in two ways, so the cost is linear.
const TOKEN = /(--[^\n]*|\/\*[^]*?(?:\*\/|$))|('(?:[^']|'')*'?)|("(?:[^"]|"")*"?|`[^`]*`?)|(\d+(?:\.\d+)?)|([\p{L}_][\p{L}\p{N}_$]*)(\s*\()?|[^]/gu;
// A longer statement is shown without colours: a span for every word would slow the page down.
const LONGEST = 20000;

/** `sql` as nodes that may be put anywhere. */
export function highlighted(sql) {
  const nodes = document.createDocumentFragment();
  if (sql.length > LONGEST) {
    nodes.append(sql);
    return nodes;
  }
  let plain = "";
  const coloured = (kind, text) => {
    if (plain) nodes.append(plain);
    plain = "";
    const span = document.createElement("span");
    span.className = kind;
    span.textContent = text;
    nodes.append(span);
  };
  for (const [token, comment, string, quoted, number, word, bracket] of sql.matchAll(TOKEN)) {
    if (comment) coloured("comment", token);
    else if (string) coloured("string", token);
    else if (quoted) coloured("name", token);
    else if (number) coloured("number", token);
    else if (word && KEYWORDS.has(word.toLowerCase()) && !(bracket && /^(count|left|right|first|last)$/i.test(word))) {
      coloured("keyword", word);
      plain += bracket ?? "";
    } else if (word && bracket) {
      coloured("call", word);
      plain += bracket;
    } else plain += token;
  }
  nodes.append(plain);
  return nodes;
}

/** Whether a fenced block without a language is SQL. */
export const looksLikeSql = (text) => /^\s*(select|with)\s/i.test(text);
