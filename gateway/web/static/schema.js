// What a database holds, as far as it is open: its tables, their columns and comments.

import { dialog, json } from "./access.js";
import { failureBox } from "./answer/turn.js";
import { label, node, say } from "./words.js";

/** Shows the tables of `database`. */
export async function showSchema(database) {
  const body = node("div", { class: "tables" });
  const box = dialog("schema", "tables", [body]);
  box.querySelector("h2").append(` · ${database}`);
  try {
    const { tables } = await json(`/page/schema?database=${encodeURIComponent(database)}`);
    body.append(...tables.map((table) => one(table, tables.length <= 3)));
    if (!tables.length) {
      const none = node("p", { class: "aside" });
      say(none, "noTables");
      body.append(none);
    }
  } catch (error) {
    body.append(failureBox(error.failure ?? { code: "unreachable", message: "" }, null));
  }
  label(box);
}

function one({ name, comment, columns }, open) {
  const rows = columns.map((column) =>
    node("tr", {}, [
      node("th", { scope: "row", text: column.name }),
      node("td", { class: "type", text: column.type }),
      node("td", { dir: "auto", text: column.comment ?? "" }),
    ]),
  );
  const title = node("summary", {}, [
    node("strong", { text: name }),
    node("span", { class: "aside", dir: "auto", text: comment ?? "" }),
  ]);
  const details = node("details", {}, [title, node("table", {}, [node("tbody", {}, rows)])]);
  details.open = open;
  return details;
}
