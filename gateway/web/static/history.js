// The list of conversations on this device: open, rename, delete, export.

import { dialog } from "./access.js";
import { download } from "./answer/files.js";
import { markdown } from "./conversation.js";
import { list, load } from "./store.js";
import { label, language, node, say } from "./words.js";

/** Shows the list; a click opens one in `conversation`. */
export async function showHistory(conversation) {
  const rows = node("ul", { class: "conversations" });
  const why = node("p", { class: "aside" });
  say(why, "historyWhere");
  const box = dialog("history", "history", [why, rows]);
  const fill = async () => {
    const all = await list();
    rows.replaceChildren(...all.map((about) => row(about, conversation, box, fill)));
    if (!all.length) {
      const none = node("li", { class: "aside" });
      say(none, "historyEmpty");
      rows.append(none);
    }
    label(box);
  };
  await fill();
}

function row(about, conversation, box, fill) {
  const day = new Intl.DateTimeFormat(language() === "zh" ? "zh-CN" : "en", {
    month: "short",
    day: "numeric",
    hour: "2-digit",
    minute: "2-digit",
  });
  const open = node("button", { type: "button", class: "open", dir: "auto" }, [
    node("span", { text: about.title }),
    node("time", { text: day.format(about.updated) }),
  ]);
  if (about.id === conversation.id) open.setAttribute("aria-current", "true");
  open.addEventListener("click", () => {
    box.close();
    conversation.open(about);
  });
  const tools = [
    tool("rename", () => rename(about, conversation, item, fill)),
    tool("exportMarkdown", async () =>
      download(markdown(about, await load(about.id)), `${file(about)}.md`, "text/markdown"),
    ),
    tool("exportJson", async () =>
      download(
        JSON.stringify(
          {
            title: about.title,
            updated: new Date(about.updated).toISOString(),
            turns: (await load(about.id)).map(plain),
          },
          null,
          2,
        ),
        `${file(about)}.json`,
        "application/json",
      ),
    ),
    tool("delete", async () => {
      await conversation.forget(about);
      await fill();
    }),
  ];
  const item = node("li", {}, [open, node("span", { class: "tools" }, tools)]);
  return item;
}

// Not the keys of the request: they are of no use elsewhere.
const plain = ({ question, began, events }) => ({ question, asked_at: new Date(began).toISOString(), events });
const file = ({ title }) => title.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 40) || "conversation";

function tool(name, act) {
  const button = node("button", { type: "button", class: "quiet small", "data-tool": name });
  say(button, name);
  button.addEventListener("click", act);
  return button;
}

function rename(about, conversation, item, fill) {
  const field = node("input", { "data-label": "rename", maxlength: 60, value: about.title });
  const end = async (keep) => {
    const title = field.value.trim();
    field.replaceWith(item.firstChild ?? "");
    if (keep && title) await conversation.rename(about, title);
    await fill();
  };
  field.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter") end(true);
    else if (event.key === "Escape") end(false);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  item.firstChild.replaceWith(field);
  label(item);
  field.focus();
  field.select();
}
