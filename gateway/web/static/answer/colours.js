// Code in colour: text nodes and spans with a class, for SQL and the usual languages.

const words = (text) => new Set(text.split(/\s+/));

const SQL = words(
  `all and any as asc between by case cast collate count cross current_date current_timestamp create delete desc
  distinct drop else end escape except exists extract false fetch filter first following for from full glob group
  having ilike in inner insert intersect interval into is join last lateral left like limit natural not null nulls
  offset on or order outer over partition preceding range recursive right row rows select set similar some table then
  to true unbounded union unique update using values when where window with within`,
);
const PYTHON = words(
  `and as assert async await break case class continue def del elif else except False finally for from global if import
  in is lambda match None nonlocal not or pass raise return self True try while with yield`,
);
const SCRIPT = words(
  `async await break case catch class const continue default delete do else enum export extends false finally for from
  function if implements import in instanceof interface let new null of private public return static super switch this
  throw true try type typeof undefined var void while yield`,
);
const C_LIKE = words(
  `abstract auto bool boolean break byte case catch char chan class const continue default defer do double else enum
  extends extern false final float fn for func go goto if impl implements import in include int interface let long loop
  map match mod mut namespace new nil null package private protected pub public range return select self short signed
  sizeof static string struct super switch template this throw throws trait true try type typedef union unsafe unsigned
  use using var virtual void volatile where while`,
);
const SHELL = words(`case do done elif else esac export fi for function if in local return select then until while`);
const DATA = words(`true false null yes no on off`);

// Each expression matches in one way only and eats at least one character, so the cost is linear in the text's length.
const DASH = String.raw`--[^\n]*|\/\*[^]*?(?:\*\/|$)`;
const HASH = String.raw`#[^\n]*`;
const SLASH = String.raw`\/\/[^\n]*|\/\*[^]*?(?:\*\/|$)`;
const QUOTED = String.raw`"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?`;
const TRIPLE = String.raw`"""[^]*?(?:"""|$)|'''[^]*?(?:'''|$)`;
const TICKED = "`(?:[^`\\\\]|\\\\[^])*`?";

const NONE = "(?!)";
const grammar = (keywords, comment, string, name = NONE, anyCase = false) => ({
  keywords,
  anyCase,
  token: new RegExp(
    `(${comment})|(${string})|(${name})|(\\d[\\d_]*(?:\\.\\d+)?)|([\\p{L}_$][\\p{L}\\p{N}_$]*)(\\s*\\()?|[^]`,
    "gu",
  ),
});

const GRAMMARS = {
  sql: grammar(SQL, DASH, String.raw`'(?:[^']|'')*'?`, String.raw`"(?:[^"]|"")*"?|${"`[^`]*`?"}`, true),
  python: grammar(PYTHON, HASH, `${TRIPLE}|${QUOTED}`),
  script: grammar(SCRIPT, SLASH, `${TICKED}|${QUOTED}`),
  c: grammar(C_LIKE, SLASH, `${TICKED}|${QUOTED}`),
  shell: grammar(SHELL, HASH, QUOTED),
  data: grammar(DATA, HASH, QUOTED),
};
const NAMES = {
  python: "python",
  py: "python",
  javascript: "script",
  js: "script",
  typescript: "script",
  ts: "script",
  jsx: "script",
  tsx: "script",
  json: "script",
  java: "c",
  c: "c",
  cpp: "c",
  "c++": "c",
  "c#": "c",
  csharp: "c",
  go: "c",
  rust: "c",
  rs: "c",
  kotlin: "c",
  swift: "c",
  php: "c",
  css: "c",
  bash: "shell",
  sh: "shell",
  shell: "shell",
  zsh: "shell",
  yaml: "data",
  yml: "data",
  toml: "data",
  ini: "data",
};
// A longer text is shown without colours: a span for every word would slow the page down.
const LONGEST = 20000;

/** `text` in `language` as nodes that may be put anywhere; a language that is not known has no colours. */
export function coloured(text, language) {
  const nodes = document.createDocumentFragment();
  const rules = GRAMMARS[/sql/.test(language) ? "sql" : NAMES[language]];
  if (!rules || text.length > LONGEST) {
    nodes.append(text);
    return nodes;
  }
  let plain = "";
  const put = (kind, part) => {
    if (plain) nodes.append(plain);
    plain = "";
    const span = document.createElement("span");
    span.className = kind;
    span.textContent = part;
    nodes.append(span);
  };
  for (const [token, comment, string, name, number, word, bracket] of text.matchAll(rules.token)) {
    const isKeyword = word && rules.keywords.has(rules.anyCase ? word.toLowerCase() : word);
    // COUNT( and LEFT( are calls in SQL; IN ( and VALUES ( stay keywords.
    const isCall = bracket && (!isKeyword || (rules.anyCase && /^(count|left|right|first|last)$/i.test(word)));
    if (comment) put("comment", token);
    else if (string) put("string", token);
    else if (name) put("name", token);
    else if (number) put("number", token);
    else if (isCall) {
      put("call", word);
      plain += bracket;
    } else if (isKeyword) {
      put("keyword", word);
      plain += bracket ?? "";
    } else plain += token;
  }
  nodes.append(plain);
  return nodes;
}

/** Whether a fenced block without a language is SQL. */
export const looksLikeSql = (text) => /^\s*(select|with)\s/i.test(text);
