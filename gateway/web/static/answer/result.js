// The rows of an answer: a chart where they make one, the table, and what can be done with both.

import { language, node, say, words } from "../words.js";
import { chart, fit } from "./chart.js";
import { copied } from "./code.js";
import { csv, download, forClipboard, png, rowsOf, xlsx } from "./files.js";
import { table } from "./table.js";

/**
 * The element for a `rows` event; `name` names the files that it is saved as. `zone` is the database's time zone, where it
 * is known; `all()` gives the response with every row as CSV, where there are more than these.
 */
export function result({ columns, rows, truncated, elapsed_ms, explanation }, name, { zone = null, all = null } = {}) {
  const count = node("span");
  say(count, truncated ? "rowsTruncated" : "rows", rows.length, Math.round(elapsed_ms));
  const actions = rows.length
    ? [
        action("csv", () => download(csv(columns, rows), `${name}.csv`, "text/csv")),
        action("excel", () => download(xlsx(columns, rows), `${name}.xlsx`)),
        copyTable(columns, rows),
        ...(truncated && all ? [everyRow(all, `${name}-all.csv`)] : []),
      ]
    : [];
  const facts = node("div", { class: truncated ? "facts cut" : "facts" }, [
    count,
    node("span", { class: "actions" }, actions),
  ]);
  const { kinds, data } = fit(columns, rows);
  const shows = explanation ? [saying(explanation)] : [];
  if (!rows.length) return node("div", { class: "result" }, [...shows, facts]);
  const grid = table(columns, rows, zone);
  const drawing = kinds.length ? [picture(kinds, data, name, grid)] : [];
  return node("div", { class: "result" }, [...shows, ...drawing, grid, facts]);
}

/** What the statement asks for, in the reader's language: a person sees there that it is not the question. */
function saying(explanation) {
  const shown = node("p", { class: "shows", dir: "auto" });
  say(shown, "thisShows", explanation);
  return shown;
}

function action(name, act) {
  const button = node("button", { class: "quiet small", type: "button" });
  say(button, name);
  button.addEventListener("click", act);
  return button;
}

function copyTable(columns, rows) {
  const button = action("copyTable", async () => {
    const { text, html } = forClipboard(columns, rows);
    say(button, (await copied(text, html)) ? "copied" : "copyFailed");
    setTimeout(() => say(button, "copyTable"), 1600);
  });
  return button;
}

/** A button that saves every row, also those after the ones that are shown. */
function everyRow(all, name) {
  const button = action("allRows", async () => {
    button.disabled = true;
    say(button, "saving");
    let outcome = ["saveBroke"];
    try {
      const response = await all();
      const bytes = await response.arrayBuffer(); // rejected where the server broke off
      const count = rowsOf(new Uint8Array(bytes));
      const most = Number(response.headers.get("X-Rows-Limit"));
      download(new Blob([bytes], { type: "text/csv;charset=utf-8" }), name);
      outcome = [count < most ? "savedAll" : "savedFirst", count];
    } catch (error) {
      if (error.failure) outcome = ["detail", error.failure.message];
    }
    button.disabled = false;
    say(button, "allRows");
    const said = node("p", { class: "aside saved", role: "status" });
    say(said, ...outcome);
    const facts = button.closest(".facts");
    if (facts.nextElementSibling?.matches(".saved")) facts.nextElementSibling.remove();
    facts.after(said);
  });
  return button;
}

/** The chart with its switch; it is drawn anew when its width, the language or the kind changes. */
function picture(kinds, data, name, grid) {
  const holder = node("div", { class: "picture" });
  const place = node("div", { class: "place" });
  let kind = kinds[0],
    drawn = "";
  const show = () => {
    const width = Math.floor(place.clientWidth);
    const state = `${kind} ${width} ${language()}`;
    if (width < 40 || state === drawn) return;
    drawn = state;
    const label = `${words(`charts.${kind}`)}: ${data.series.map((one) => one.name).join(", ")}`;
    place.replaceChildren(chart(kind, data, width, label));
  };
  const choose = (chosen) => {
    kind = chosen;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
    place.hidden = save.hidden = kind === "none";
    grid.hidden = kind === "number"; // one value twice says nothing more
    if (kind !== "none") show();
  };
  const buttons = [...kinds, "none"].map((one) => {
    const button = action(`charts.${one}`, () => choose(one));
    button.dataset.kind = one;
    return button;
  });
  const save = action("png", async () => download(await png(place.querySelector("svg")), `${name}.png`));
  holder.append(node("div", { class: "switch", role: "group", "data-label": "chart" }, [...buttons, save]), place);
  new ResizeObserver(show).observe(place);
  document.addEventListener("sluice-language", show);
  choose(kind);
  return holder;
}
