// The AI SDK's chat against POST /chat: asks, reads on after a reload in the middle of an answer, and stops one.
import { AbstractChat, DefaultChatTransport } from "ai";

const [base, what, model] = process.argv.slice(2);
const transport = () =>
  new DefaultChatTransport({ api: `${base}/chat`, body: { model, ...(what === "sql" ? { database: "metro" } : { database: "none" }) } });

class State {
  status = "ready";
  error = undefined;
  messages;
  constructor(messages) {
    this.messages = messages;
  }
  pushMessage = (message) => void this.messages.push(message);
  popMessage = () => void this.messages.pop();
  replaceMessage = (index, message) => void (this.messages[index] = message);
  snapshot = (value) => structuredClone(value);
}
class Chat extends AbstractChat {
  constructor(id, messages = [], more = {}) {
    super({ id, transport: transport(), state: new State(messages), ...more });
  }
}
const textOf = (message) => message.parts.filter((part) => part.type === "text").map((part) => part.text).join("");
const until = async (holds) => {
  for (let n = 0; n < 400 && !holds(); n += 1) await new Promise((resolve) => setTimeout(resolve, 20));
};
const id = `chat-${what}-${model}-${process.pid}`;
const chat = new Chat(id);

if (what === "ask" || what === "sql") {
  await chat.sendMessage({ text: "你好" });
  const last = chat.messages.at(-1);
  console.log(JSON.stringify({ status: chat.status, error: chat.error?.message, text: textOf(last), parts: last.parts, metadata: last.metadata }));
} else if (what === "reload") {
  const asking = chat.sendMessage({ text: "reloaded" });
  await until(() => chat.messages.length > 1 && textOf(chat.messages.at(-1)).length > 20);
  const seen = textOf(chat.messages.at(-1));
  await chat.stop(); // The page goes: its connection is closed.
  await asking;
  const again = new Chat(id, chat.messages.slice(0, 1));
  await again.resumeStream();
  const after = new Chat(id, chat.messages.slice(0, 1));
  await after.resumeStream();
  console.log(JSON.stringify({ seen, text: textOf(again.messages.at(-1)), status: again.status, left: after.messages.length }));
} else if (what === "stop") {
  const asking = chat.sendMessage({ text: "stopped" });
  await until(() => chat.messages.length > 1 && textOf(chat.messages.at(-1)).length > 20);
  const deleted = await fetch(`${base}/chat/${id}/stream`, { method: "DELETE" });
  await asking;
  console.log(JSON.stringify({ deleted: deleted.status, text: textOf(chat.messages.at(-1)), status: chat.status }));
}
