// A chart of rows, as SVG: what they are fit for, and each kind drawn. Our own, because a chart here needs six shapes, the
// page's colours and no inline style; the well-kept libraries for that are larger than the rest of the page.

import { language } from "../words.js";
import { kinds, plain, shown } from "./table.js";

const MOST = { bar: 40, stacked: 40, pie: 6, line: 2000, series: 6 };
const TIME = /^\d{4}(-\d{2}(-\d{2}([T ]\d{2}:\d{2}.*)?)?|年(\d{1,2}月)?|-?Q[1-4])$/;
const SHARE = /share|percent|ratio|portion|占比|比例|百分|份额/i;

/**
 * What can be drawn of the rows, best first: {kinds, data}, where `kinds` holds some of number, line, bar, stacked and pie,
 * and `data` is {labels, isTime, series: [{name, values}]}. `kinds` is empty where no chart would say more than the table.
 */
export function fit(columns, rows) {
  const about = kinds(columns, rows).map((column, n) => ({
    ...column,
    n,
    isTime: isTime(
      column,
      rows.map((row) => row[n]),
    ),
  }));
  const numbers = about.filter(({ isNumber, isName, isTime }) => isNumber && !isName && !isTime);
  const none = { kinds: [], data: null };
  if (!numbers.length || !rows.length) return none;
  if (rows.length === 1) {
    if (numbers.length > 1 || columns.length > 2) return none;
    const [{ n, name }] = numbers;
    return {
      kinds: ["number"],
      data: {
        labels: [plain(rows[0][1 - n] ?? "")],
        isTime: false,
        series: [{ name, values: [Number(rows[0][n])], text: shown(rows[0][n], numbers[0]) }],
      },
    };
  }
  const others = about.filter((column) => !numbers.includes(column));
  const x = others.find((column) => column.isTime) ?? others.find(({ isNumber }) => !isNumber) ?? others[0];
  if (!x || rows.some((row) => row[x.n] === null)) return none;
  const data =
    distinct(rows, x.n) === rows.length
      ? wide(rows, x, numbers)
      : long(
          rows,
          x,
          others.filter((other) => other !== x),
          numbers,
        );
  if (!data || data.labels.length < 2) return none;
  const values = data.series.flatMap((one) => one.values);
  const count = data.labels.length;
  const fits = {
    line: x.isTime && count <= MOST.line,
    bar: count <= MOST.bar && data.series.length <= MOST.series,
    stacked: data.series.length > 1 && count <= MOST.stacked && values.every((value) => value === null || value >= 0),
    pie: !x.isTime && data.series.length === 1 && count <= MOST.pie && values.every((value) => value > 0),
  };
  const isShare = SHARE.test(data.series[0].name);
  const order = isShare ? ["pie", "line", "bar", "stacked"] : ["line", "bar", "stacked", "pie"];
  return { kinds: order.filter((kind) => fits[kind]), data };
}

const distinct = (rows, n) => new Set(rows.map((row) => plain(row[n]))).size;
const number = (value) => (value === null ? null : Number(value));

function isTime({ type, name, isName }, values) {
  if (/date|time/i.test(type ?? "") && !/interval/i.test(type)) return true;
  if (isName && /year|年/i.test(name)) return values.every((value) => Number(value) >= 1000 && Number(value) <= 3000);
  return values.length > 0 && values.every((value) => typeof value === "string" && TIME.test(value));
}

function inOrder(labels, isTime) {
  return isTime ? labels.toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0)) : labels;
}

/** One row for each label, one column for each series. */
function wide(rows, x, numbers) {
  const by = new Map(rows.map((row) => [plain(row[x.n]), row]));
  const labels = inOrder([...by.keys()], x.isTime);
  return {
    labels,
    isTime: x.isTime,
    series: numbers
      .slice(0, MOST.series)
      .map(({ name, n }) => ({ name, values: labels.map((label) => number(by.get(label)[n])) })),
  };
}

/** One row for each pair of a label and a series' name, such as month, line, passengers. */
function long(rows, x, others, numbers) {
  if (numbers.length !== 1) return null;
  const by = others.find(({ n }) => distinct(rows, n) <= MOST.series);
  if (!by) return null;
  const labels = inOrder([...new Set(rows.map((row) => plain(row[x.n])))], x.isTime);
  const names = [...new Set(rows.map((row) => plain(row[by.n])))];
  const cells = new Map(rows.map((row) => [`${plain(row[x.n])}\n${plain(row[by.n])}`, number(row[numbers[0].n])]));
  if (cells.size !== rows.length) return null; // a pair that comes twice is not a point
  return {
    labels,
    isTime: x.isTime,
    series: names.map((name) => ({ name, values: labels.map((label) => cells.get(`${label}\n${name}`) ?? null) })),
  };
}

// ---- Drawing. Colours and fonts are classes of page.css.

const SVG = "http://www.w3.org/2000/svg";
const CHARACTER = 7; // about as wide as a Latin character at 12 px; a Chinese one is 12

const widthOf = (text) => [...text].reduce((sum, sign) => sum + (sign > "\u2e80" ? 12 : CHARACTER), 0);
const clipped = (text, room) => {
  let used = 0,
    end = 0;
  for (const sign of text) {
    used += sign > "\u2e80" ? 12 : CHARACTER;
    if (used > room - 8) return `${text.slice(0, end)}…`;
    end += sign.length;
  }
  return text;
};

function draw(name, attributes = {}, children = [], title = "") {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, typeof value === "number" ? Math.round(value * 100) / 100 : value);
  }
  element.append(...children);
  if (title) element.prepend(draw("title", {}, [title]));
  return element;
}
const text = (x, y, words, anchor = "middle", kind = "") =>
  draw("text", { x, y, "text-anchor": anchor, class: kind }, [words]);

/** The chart of `kind` in `width` pixels; `label` is its accessible name. */
export function chart(kind, data, width, label) {
  const legend = kind !== "pie" && kind !== "number" && data.series.length > 1 ? named(data.series, width) : null;
  const top = legend ? legend.height + 6 : 12;
  const parts = { number: big, line, bar: bars, stacked: bars, pie }[kind](data, width, top, kind === "stacked");
  const svg = draw("svg", {
    width,
    height: parts.height,
    viewBox: `0 0 ${width} ${parts.height}`,
    role: "img",
    "aria-label": label,
    class: "chart",
  });
  svg.append(...(legend ? legend.nodes : []), ...parts.nodes);
  return svg;
}

function named(series, width) {
  const nodes = [];
  let [x, y] = [8, 16];
  series.forEach(({ name }, n) => {
    const words = clipped(name, width / 2);
    const room = widthOf(words) + 34;
    if (x + room > width && x > 8) [x, y] = [8, y + 20];
    nodes.push(
      draw("rect", { x, y: y - 9, width: 10, height: 10, rx: 2, class: `fill${n}` }),
      text(x + 15, y, words, "start"),
    );
    x += room;
  });
  return { nodes, height: y + 4 };
}

/** Round steps that hold 0 and all `values`: [lowest, …, highest]. */
export function ticks(values, most = 5) {
  const known = values.filter((value) => value !== null);
  const [low, high] = [Math.min(0, ...known), Math.max(0, ...known)];
  const rough = (high - low || 1) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const from = Math.floor(low / step + 1e-9),
    to = Math.ceil(high / step - 1e-9);
  return Array.from({ length: to - from + 1 }, (_, n) => Number(((from + n) * step).toPrecision(12)));
}

const tag = () => (language() === "zh" ? "zh-CN" : "en");
const short = (value) => new Intl.NumberFormat(tag(), { notation: "compact", maximumFractionDigits: 2 }).format(value);
const full = (value) =>
  value === null ? "–" : new Intl.NumberFormat(tag(), { maximumFractionDigits: 6 }).format(value);

/** A time as an axis has room for it, read as it stands, so that no zone moves it. */
function moment(label, all) {
  const found = /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2}))?/.exec(label);
  if (!found) return label;
  const [, year, month, day, hour, minute] = found;
  const date = new Date(Date.UTC(year, month - 1, day, hour ?? 0, minute ?? 0));
  const sameDay = all.every((other) => other.slice(0, 10) === label.slice(0, 10));
  const sameYear = all.every((other) => other.slice(0, 4) === year);
  const form =
    hour && sameDay
      ? { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }
      : sameYear
        ? { month: "short", day: "numeric" }
        : { year: "numeric", month: "short" };
  return new Intl.DateTimeFormat(tag(), { ...form, timeZone: "UTC" }).format(date);
}

function big({ labels, series: [{ name, text: words, values }] }, width) {
  const figure = text(16, 58, words, "start", "big");
  figure.setAttribute("font-size", Math.min(44, (width - 32) / (words.length * 0.62)));
  figure.prepend(draw("title", {}, [full(values[0])]));
  const under = [labels[0], name].filter(Boolean).join(" · ");
  return { height: 104, nodes: [figure, text(16, 84, clipped(under, width - 32), "start")] };
}

/** The frame of line and bars: value axis at the left, `at(value)` gives y, `left` and `right` bound the labels' axis. */
function frame(values, width, top, height) {
  const steps = ticks(values);
  const words = steps.map(short);
  const left = Math.max(...words.map(widthOf)) + 14,
    right = width - 12,
    bottom = height - 30;
  const at = (value) => bottom - ((value - steps[0]) / (steps.at(-1) - steps[0] || 1)) * (bottom - top);
  const nodes = steps.flatMap((step, n) => [
    draw("line", { x1: left, x2: right, y1: at(step), y2: at(step), class: step === 0 ? "axis" : "grid" }),
    text(left - 6, at(step) + 4, words[n], "end"),
  ]);
  return { nodes, left, right, bottom, at };
}

function line({ labels, isTime, series }, width, top) {
  const height = 260;
  const { nodes, left, right, bottom, at } = frame(
    series.flatMap((one) => one.values),
    width,
    top,
    height,
  );
  const x = (n) => left + 8 + (n / Math.max(1, labels.length - 1)) * (right - left - 16);
  const words = labels.map((label) => (isTime ? moment(label, labels) : label));
  const every = Math.max(1, Math.ceil((Math.max(...words.map(widthOf)) + 16) / ((right - left) / labels.length)));
  for (let n = 0; n < labels.length; n += every) {
    const half = widthOf(words[n]) / 2;
    nodes.push(text(Math.min(Math.max(x(n), left + half - 8), width - half - 2), bottom + 20, words[n]));
  }
  series.forEach(({ name, values }, n) => {
    // A value that is missing breaks the line.
    let path = "",
      pen = "M";
    values.forEach((value, m) => {
      if (value === null) pen = "M";
      else {
        path += `${pen}${x(m).toFixed(1)} ${at(value).toFixed(1)}`;
        pen = "L";
      }
    });
    nodes.push(draw("path", { d: path, class: `stroke${n}` }));
    const dots = labels.length <= 60;
    values.forEach((value, m) => {
      if (value !== null)
        nodes.push(
          draw(
            "circle",
            { cx: x(m), cy: at(value), r: dots ? 3 : 5, class: dots ? `fill${n}` : "touch" },
            [],
            `${labels[m]} · ${name}: ${full(value)}`,
          ),
        );
    });
  });
  return { nodes, height };
}

function bars(data, width, top, stacked) {
  const longest = Math.max(...data.labels.map(widthOf));
  const lying = !data.isTime && (data.labels.length > 8 || longest > (width - 60) / data.labels.length - 6);
  return lying ? lyingBars(data, width, top, stacked) : standingBars(data, width, top, stacked);
}

const sums = (series, n) => series.reduce((sum, { values }) => sum + (values[n] ?? 0), 0);

function standingBars({ labels, isTime, series }, width, top, stacked) {
  const height = 260;
  const totals = stacked ? labels.map((_, n) => sums(series, n)) : series.flatMap((one) => one.values);
  const { nodes, left, right, bottom, at } = frame(totals, width, top, height);
  const slot = (right - left) / labels.length;
  const wide = Math.min(56, slot * 0.7);
  const words = labels.map((label) => (isTime ? moment(label, labels) : label));
  const every = Math.max(1, Math.ceil((Math.max(...words.map(widthOf)) + 8) / slot));
  labels.forEach((label, n) => {
    const middle = left + slot * (n + 0.5);
    if (n % every === 0) nodes.push(text(middle, bottom + 20, words[n]));
    let base = 0;
    series.forEach(({ name, values }, m) => {
      const value = values[n];
      if (value === null) return;
      const each = stacked ? wide : wide / series.length;
      const [from, to] = stacked ? [base, (base += value)] : [0, value];
      const [y1, y2] = [at(Math.max(from, to)), at(Math.min(from, to))];
      nodes.push(
        draw(
          "rect",
          {
            x: middle - wide / 2 + (stacked ? 0 : m * each),
            y: y1,
            width: Math.max(1, each - 1),
            height: Math.max(0.5, y2 - y1),
            class: `fill${m}`,
          },
          [],
          `${label} · ${name}: ${full(value)}`,
        ),
      );
    });
  });
  return { nodes, height };
}

function lyingBars({ labels, series }, width, top, stacked) {
  const each = stacked || series.length === 1 ? 18 : 12;
  const slot = (stacked ? each : each * series.length) + 8;
  const left = Math.min(Math.max(...labels.map(widthOf)) + 18, width * 0.38);
  const totals = stacked ? labels.map((_, n) => sums(series, n)) : series.flatMap((one) => one.values);
  const steps = ticks(totals, 4);
  const room = width - left - 64;
  const at = (value) => left + ((value - steps[0]) / (steps.at(-1) - steps[0] || 1)) * room;
  const nodes = [draw("line", { x1: at(0), x2: at(0), y1: top, y2: top + slot * labels.length, class: "axis" })];
  labels.forEach((label, n) => {
    const y = top + slot * n + 4;
    nodes.push(draw("g", {}, [text(left - 8, y + (slot - 8) / 2 + 4, clipped(label, left - 8), "end")], label));
    let base = 0;
    series.forEach(({ name, values }, m) => {
      const value = values[n];
      if (value === null) return;
      const [from, to] = stacked ? [base, (base += value)] : [0, value];
      const [x1, x2] = [at(Math.min(from, to)), at(Math.max(from, to))];
      nodes.push(
        draw(
          "rect",
          {
            x: x1,
            y: y + (stacked ? 0 : m * each),
            width: Math.max(0.5, x2 - x1),
            height: each - 1,
            rx: 2,
            class: `fill${m}`,
          },
          [],
          `${label} · ${name}: ${full(value)}`,
        ),
      );
      if (!stacked) nodes.push(text(x2 + 6, y + m * each + each / 2 + 3, short(value), "start"));
    });
    if (stacked) nodes.push(text(at(base) + 6, y + each / 2 + 4, short(base), "start"));
  });
  return { nodes, height: top + slot * labels.length + 14 };
}

function pie({ labels, series: [{ values }] }, width) {
  const height = 220,
    radius = Math.min(90, width * 0.22),
    hole = radius * 0.58,
    total = values.reduce((sum, value) => sum + value, 0);
  const [cx, cy] = [radius + Math.min(40, width * 0.03), 110];
  const percent = (value) =>
    new Intl.NumberFormat(tag(), { style: "percent", maximumFractionDigits: 1 }).format(value / total);
  const point = (share, r = radius) =>
    [cx + r * Math.sin(2 * Math.PI * share), cy - r * Math.cos(2 * Math.PI * share)]
      .map((part) => part.toFixed(2))
      .join(" ");
  const nodes = [];
  let from = 0;
  values.forEach((value, n) => {
    const to = from + value / total;
    const large = to - from > 0.5 ? 1 : 0;
    const d = `M${point(from)}A${radius} ${radius} 0 ${large} 1 ${point(to)}L${point(to, hole)}A${hole} ${hole} 0 ${large} 0 ${point(from, hole)}Z`;
    nodes.push(draw("path", { d, class: `slice fill${n}` }, [], `${labels[n]}: ${full(value)} (${percent(value)})`));
    const [x, y] = [cx + radius + 28, cy - (values.length - 1) * 12 + n * 24];
    nodes.push(
      draw("rect", { x, y: y - 9, width: 10, height: 10, rx: 2, class: `fill${n}` }),
      text(x + 16, y, `${clipped(labels[n], width - x - 70)}  ${percent(value)}`, "start"),
    );
    from = to;
  });
  return { nodes, height };
}
