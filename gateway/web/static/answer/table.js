// The rows of an answer as a table: sorted by a click, numbers with separators, quick with many rows.

import { language, node, say } from "../words.js";

const ROWS_AT_ONCE = 200;
const NUMERIC = /int|dec|num|real|float|double|money/i;
// Figures that are names: no separators, and not added up or drawn.
const NAMING = /(^|_)(id|no|code|year|zip|phone)$|编号|代码|号码|年份|^年$/i;

/** What each column holds: {name, type, isNumber, isName}; `isName` marks numbers that stand for something, such as a year. */
export function kinds(columns, rows) {
  return columns.map(({ name, type }, n) => {
    const values = rows.map((row) => row[n]).filter((value) => value !== null);
    const looks = values.length > 0 && values.every((value) => typeof value === "number");
    const reads = NUMERIC.test(type ?? "") && values.every((value) => typeof value === "number" || isDecimal(value));
    return { name, type, isNumber: looks || reads, isName: NAMING.test(name) };
  });
}

const isDecimal = (value) => typeof value === "string" && /^-?\d+(\.\d+)?$/.test(value);

/** The table for a `rows` event's `columns` and `rows`, in a box that scrolls; `zone` is the database's own time zone. */
export function table(columns, rows, zone = null) {
  const about = kinds(columns, rows);
  about.forEach((column, n) => Object.assign(column, zoned(columns[n], rows, n, zone)));
  const head = columns.map((column, n) => {
    const button = node("button", { type: "button", title: column.type ?? "", text: column.name });
    if (about[n].zone) button.append(" ", node("span", { class: "zone", text: about[n].zone }));
    button.addEventListener("click", () => sort(n));
    return node("th", { scope: "col", class: about[n].isNumber ? "number" : "" }, [button]);
  });
  const body = node("tbody");
  const grid = node("table", { "aria-rowcount": rows.length + 1 }, [node("thead", {}, [node("tr", {}, head)]), body]);
  // Up to 20 rows stand on the page as they are; more scroll in a box.
  const scroller = node(
    "div",
    { class: rows.length > 20 ? "scroller" : "scroller tall", tabindex: 0, role: "region", "data-label": "result" },
    [grid],
  );
  let order = rows,
    shown = 0,
    by = -1,
    rising = true;
  const more = () => {
    const next = order.slice(shown, shown + ROWS_AT_ONCE);
    body.append(
      ...next.map((row) =>
        node(
          "tr",
          {},
          row.map((value, n) => cell(value, about[n])),
        ),
      ),
    );
    shown += next.length;
  };
  const sort = (n) => {
    // Up, down, and back to the order in which the database gave them.
    if (by !== n) [by, rising] = [n, true];
    else if (rising) rising = false;
    else by = -1;
    order = by < 0 ? rows : sorted(rows, by, rising, about[by].isNumber);
    head.forEach((th, m) => {
      if (m === by) th.setAttribute("aria-sort", rising ? "ascending" : "descending");
      else th.removeAttribute("aria-sort");
    });
    shown = 0;
    body.replaceChildren();
    more();
    scroller.scrollTop = 0;
  };
  more();
  addEventListener("beforeprint", () => {
    while (scroller.isConnected && shown < order.length) more();
  });
  // Ten thousand rows at once would stall the page; the next ones come when the last is nearly in sight.
  scroller.addEventListener("scroll", () => {
    if (shown < rows.length && scroller.scrollTop + 2 * scroller.clientHeight > scroller.scrollHeight) more();
  });
  return scroller;
}

function sorted(rows, n, rising, isNumber) {
  const collator = new Intl.Collator(language() === "zh" ? "zh-CN" : "en", { numeric: true });
  const compare = isNumber ? (a, b) => Number(a) - Number(b) : (a, b) => collator.compare(plain(a), plain(b));
  return rows.toSorted((left, right) => {
    const [a, b] = [left[n], right[n]];
    // What is not known comes last, whichever way the rest is sorted.
    if (a === null || b === null) return (a === null) - (b === null);
    return rising ? compare(a, b) : compare(b, a);
  });
}

function cell(value, about) {
  if (value === null) return node("td", { class: "null", text: "NULL" });
  if (value === "") {
    const empty = node("td", { class: "null" });
    say(empty, "emptyText");
    return empty;
  }
  const text = shown(value, about);
  const raw = plain(value);
  // Long text is cut at the column's width; pointing at it shows the whole.
  return node("td", {
    class: about.isNumber ? "number" : "",
    dir: "auto",
    title: raw.length > 40 || raw !== text ? raw : "",
    text,
  });
}

const OFFSET = /(?:Z|[+-]\d{2}:\d{2}(?::\d{2})?)$/;

/**
 * What the heading of a column of times says about its zone. The times come in the database's zone; where all are as far
 * from UTC, that is said once and not in every row (`bare`).
 */
function zoned({ type }, rows, n, name) {
  if (type !== "timestamptz") return {};
  const offsets = new Set(rows.flatMap((row) => (row[n] === null ? [] : (OFFSET.exec(row[n])?.[0] ?? ["?"]))));
  const bare = offsets.size === 1 && !offsets.has("?");
  const [offset] = offsets;
  const utc = bare ? `UTC${/^(Z|[+-]00:00)$/.test(offset) ? "" : offset}` : null;
  const isOffset = !name || /^[+-]?\d|^(UTC|GMT)$/i.test(name);
  return { bare, zone: isOffset ? utc : utc ? `${name}, ${utc}` : name };
}

/** A value as the table shows it: numbers with separators, times without the T and a fraction of zeros. */
export function shown(value, { isNumber, isName, bare } = {}) {
  const text = bare ? plain(value).replace(OFFSET, "") : plain(value);
  if (isNumber && !isName)
    return text.replace(/^(-?)(\d{4,})(?=\.|$)/, (_, sign, whole) => sign + whole.replace(/\B(?=(\d{3})+$)/g, ","));
  if (/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}/.test(text)) return text.replace("T", " ").replace(/\.0+(?=$|[+-Z])/, "");
  return text;
}

/** A value as text, digit for digit. */
export const plain = (value) =>
  value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
