// Rows and pictures as files: CSV, Excel, a table for the clipboard, PNG.

import { node } from "../words.js";
import { plain } from "./table.js";

/**
 * The rows as CSV (RFC 4180, UTF-8 with the mark that Excel wants). Text that a spreadsheet would run as a formula gets
 * an apostrophe in front; numbers stay numbers, negative ones too.
 */
export function csv(columns, rows) {
  const field = (value) => {
    let text = plain(value);
    if (isFormula(value, text)) text = `'${text}`;
    return /[",\r\n\t']/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [columns.map((column) => column.name), ...rows].map((row) => row.map(field).join(","));
  return `\ufeff${lines.join("\r\n")}\r\n`;
}

/** How many rows a CSV file has after its line of names: the line ends that are not inside quotes. */
export function rowsOf(bytes) {
  let count = -1,
    quoted = false;
  for (const byte of bytes) {
    if (byte === 34) quoted = !quoted;
    else if (byte === 10 && !quoted) count++;
  }
  return count;
}

const isFormula = (value, text) =>
  typeof value !== "number" && /^[=+\-@\t\r\n＝＋－＠]/.test(text) && !/^-?\d+(\.\d+)?$/.test(text);

/** The rows as text with tabs and as an HTML table: spreadsheets and documents take one of them. */
export function forClipboard(columns, rows) {
  const lines = [columns.map((column) => column.name), ...rows];
  const tabs = lines.map((row) => row.map((value) => plain(value).replace(/[\t\r\n]+/g, " ")).join("\t")).join("\n");
  const cells = lines.map((row) => `<tr>${row.map((value) => `<td>${escaped(plain(value))}</td>`).join("")}</tr>`);
  return { text: tabs, html: `<table>${cells.join("")}</table>` };
}

const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
// XML cannot hold the other control characters, nor half a surrogate pair.
const escaped = (text) =>
  text
    .toWellFormed()
    .replace(/(?![\t\n\r])\p{Cc}|[\ufffe\uffff]/gu, "\ufffd")
    .replace(/[&<>"]/g, (sign) => ENTITIES[sign]);

const MOST_CHARACTERS = 32767; // of one cell, in Excel

/** The rows as a workbook of one sheet (Office Open XML), its first row bold and kept in sight. */
export function xlsx(columns, rows) {
  const cell = (value) => {
    if (value === null) return "<c/>";
    if (typeof value === "number") return `<c><v>${value}</v></c>`;
    if (typeof value === "boolean") return `<c t="b"><v>${value ? 1 : 0}</v></c>`;
    return `<c t="inlineStr"><is><t xml:space="preserve">${escaped(plain(value).slice(0, MOST_CHARACTERS))}</t></is></c>`;
  };
  const head = columns.map(
    ({ name }) => `<c t="inlineStr" s="1"><is><t xml:space="preserve">${escaped(name)}</t></is></c>`,
  );
  const lines = [head, ...rows.map((row) => row.map(cell))].map((cells) => `<row>${cells.join("")}</row>`);
  const main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
  const links = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
  const packages = "http://schemas.openxmlformats.org/package/2006";
  const kind = "application/vnd.openxmlformats-officedocument.spreadsheetml";
  const relation = (id, type, target) => `<Relationship Id="${id}" Type="${links}/${type}" Target="${target}"/>`;
  const parts = {
    "[Content_Types].xml": `<Types xmlns="${packages}/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml" ContentType="${kind}.sheet.main+xml"/><Override PartName="/xl/worksheets/sheet1.xml" ContentType="${kind}.worksheet+xml"/><Override PartName="/xl/styles.xml" ContentType="${kind}.styles+xml"/></Types>`,
    "_rels/.rels": `<Relationships xmlns="${packages}/relationships">${relation("r1", "officeDocument", "xl/workbook.xml")}</Relationships>`,
    "xl/workbook.xml": `<workbook xmlns="${main}" xmlns:r="${links}"><sheets><sheet name="Sluice" sheetId="1" r:id="r1"/></sheets></workbook>`,
    "xl/_rels/workbook.xml.rels": `<Relationships xmlns="${packages}/relationships">${relation("r1", "worksheet", "worksheets/sheet1.xml")}${relation("r2", "styles", "styles.xml")}</Relationships>`,
    "xl/styles.xml": `<styleSheet xmlns="${main}"><fonts count="2"><font><sz val="11"/><name val="Calibri"/></font><font><b/><sz val="11"/><name val="Calibri"/></font></fonts><fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills><borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="2"><xf xfId="0"/><xf xfId="0" fontId="1" applyFont="1"/></cellXfs></styleSheet>`,
    "xl/worksheets/sheet1.xml": `<worksheet xmlns="${main}"><sheetViews><sheetView workbookViewId="0"><pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews><sheetData>${lines.join("")}</sheetData></worksheet>`,
  };
  const xml = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n';
  return zip(Object.entries(parts).map(([name, text]) => [name, new TextEncoder().encode(xml + text)]));
}

/** A ZIP file of `[name, bytes]`, not compressed. */
function zip(files) {
  const pieces = [],
    directory = [];
  let at = 0;
  const put = (list, ...numbers) => {
    const view = new DataView(new ArrayBuffer(numbers.reduce((sum, [size]) => sum + size, 0)));
    let offset = 0;
    for (const [size, value] of numbers) {
      if (size === 2) view.setUint16(offset, value, true);
      else view.setUint32(offset, value, true);
      offset += size;
    }
    list.push(new Uint8Array(view.buffer));
    return offset;
  };
  for (const [name, bytes] of files) {
    const title = new TextEncoder().encode(name);
    // Version 2.0, names in UTF-8, stored; the date is 1 January 1980, so that the same rows give the same file.
    const common = [
      [2, 20],
      [2, 0x800],
      [2, 0],
      [2, 0],
      [2, 0x21],
      [4, crc32(bytes)],
      [4, bytes.length],
      [4, bytes.length],
      [2, title.length],
      [2, 0],
    ];
    put(directory, [4, 0x02014b50], [2, 20], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, at]);
    directory.push(title);
    at += put(pieces, [4, 0x04034b50], ...common) + title.length + bytes.length;
    pieces.push(title, bytes);
  }
  const size = directory.reduce((sum, piece) => sum + piece.length, 0);
  put(directory, [4, 0x06054b50], [2, 0], [2, 0], [2, files.length], [2, files.length], [4, size], [4, at], [2, 0]);
  return new Blob([...pieces, ...directory], {
    type: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
  });
}

const CRC = Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n >>> 0;
});
const crc32 = (bytes) =>
  (bytes.reduce((crc, byte) => CRC[(crc ^ byte) & 0xff] ^ (crc >>> 8), 0xffffffff) ^ 0xffffffff) >>> 0;

const ATTRIBUTES = [
  "fill",
  "stroke",
  "stroke-width",
  "stroke-dasharray",
  "font-family",
  "font-size",
  "font-weight",
  "text-anchor",
  "fill-opacity",
];

/** A chart, an SVG element on the page, as a PNG of twice its size on the page's own background. */
export async function png(svg) {
  const { width, height } = svg.getBoundingClientRect();
  const copy = svg.cloneNode(true);
  const [from, to] = [
    [svg, ...svg.querySelectorAll("*")],
    [copy, ...copy.querySelectorAll("*")],
  ];
  // The picture has no style sheet of its own: what the page's gives becomes attributes.
  from.forEach((element, n) => {
    const style = getComputedStyle(element);
    for (const name of ATTRIBUTES) to[n].setAttribute(name, style.getPropertyValue(name));
    to[n].removeAttribute("class");
  });
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  const picture = new Image();
  picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(copy))}`;
  await picture.decode();
  const canvas = node("canvas", { width: Math.round(width * 2), height: Math.round(height * 2) });
  const context = canvas.getContext("2d");
  context.fillStyle = getComputedStyle(svg.closest(".result") ?? document.body).backgroundColor;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** Hands `content` (text or a Blob) to the browser as a file. */
export function download(content, name, type = "text/plain") {
  const url = URL.createObjectURL(
    content instanceof Blob ? content : new Blob([content], { type: `${type};charset=utf-8` }),
  );
  node("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
