// The rows of an answer: a table that stays quick with many rows, and the same rows as a CSV file.

import { node, say } from "./words.js";

const ROWS_AT_ONCE = 200;
const NUMERIC = /int|dec|num|real|float|double|money/i;

/** The table for a `rows` event, with its line of facts below. */
export function table({ columns, rows, truncated, elapsed_ms }, name) {
  const numeric = columns.map(
    (column, n) => NUMERIC.test(column.type ?? "") || (rows.some((row) => row[n] !== null) && rows.every((row) => row[n] === null || typeof row[n] === "number")),
  );
  const body = node("tbody");
  const grid = node("table", { "aria-rowcount": rows.length + 1 }, [
    node("thead", {}, [
      node("tr", {}, columns.map((column, n) => node("th", { scope: "col", class: numeric[n] ? "number" : "", text: column.name, title: column.type ?? "" }))),
    ]),
    body,
  ]);
  const scroller = node("div", { class: "scroller", tabindex: 0, role: "region", "data-label": "result" }, [grid]);
  let shown = 0;
  const more = () => {
    const next = rows.slice(shown, shown + ROWS_AT_ONCE);
    body.append(...next.map((row) => node("tr", {}, row.map((value, n) => cell(value, numeric[n])))));
    shown += next.length;
  };
  more();
  // Ten thousand rows at once would stall the page; the next ones come when the last is nearly in sight.
  scroller.addEventListener("scroll", () => {
    if (shown < rows.length && scroller.scrollTop + 2 * scroller.clientHeight > scroller.scrollHeight) more();
  });

  const count = node("span");
  say(count, truncated ? "rowsTruncated" : "rows", rows.length, Math.round(elapsed_ms));
  const save = node("button", { class: "quiet small", type: "button" });
  say(save, "csv");
  save.addEventListener("click", () => download(csv(columns, rows), `${name}.csv`));
  const facts = node("div", { class: truncated ? "facts cut" : "facts" }, rows.length ? [count, save] : [count]);
  return node("div", { class: "result" }, rows.length ? [scroller, facts] : [facts]);
}

function cell(value, numeric) {
  if (value === null) return node("td", { class: "null", text: "NULL" });
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  // Long text is cut at the column's width; pointing at it shows the whole.
  return node("td", { class: numeric ? "number" : "", dir: "auto", title: text.length > 40 ? text : "", text });
}

/**
 * The rows as CSV (RFC 4180, UTF-8 with the mark that Excel wants). Text that a spreadsheet would run as a formula gets
 * an apostrophe in front; numbers stay numbers, negative ones too.
 */
export function csv(columns, rows) {
  const field = (value) => {
    if (value === null) return "";
    let text = typeof value === "object" ? JSON.stringify(value) : String(value);
    if (typeof value !== "number" && /^[=+\-@\t\r\n＝＋－＠]/.test(text) && !/^-?\d+(\.\d+)?$/.test(text)) text = `'${text}`;
    return /[",\r\n\t']/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [columns.map((column) => column.name), ...rows].map((row) => row.map(field).join(","));
  return `\ufeff${lines.join("\r\n")}\r\n`;
}

function download(text, name) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  node("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
