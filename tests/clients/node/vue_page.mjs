// A page with Chat of @ai-sdk/vue, bundled for the browser: asks at first, and after a reload resumes what still runs.
import { Chat } from "@ai-sdk/vue";
import { DefaultChatTransport } from "ai";
import { createApp, h } from "vue";

const parameters = new URLSearchParams(location.search);
const [base, key] = [parameters.get("sluice"), parameters.get("key")];
const headers = { Authorization: `Bearer ${key}` };
const id = "a-chat-in-chromium";
const kept = JSON.parse(localStorage.getItem(id) ?? "[]");
const transport = new DefaultChatTransport({
  api: `${base}/chat`,
  headers,
  body: { model: "counted" },
  prepareReconnectToStreamRequest: ({ id, headers }) => ({ api: `${base}/chat/${id}/stream`, headers }),
});
const chat = new Chat({ id, messages: kept, transport });
const textOf = (message) => message.parts.filter((part) => part.type === "text").map((part) => part.text).join("");
window.stop_answer = () => fetch(`${base}/chat/${id}/stream`, { method: "DELETE", headers });
createApp({ render: () => h("div", { id: "chat", "data-status": chat.status }, chat.messages.map((one) => h("p", { class: one.role }, textOf(one)))) }).mount("#app");
if (kept.length) chat.resumeStream();
else {
  const question = { id: "m1", role: "user", parts: [{ type: "text", text: "asked in chromium" }] };
  localStorage.setItem(id, JSON.stringify([question]));
  chat.sendMessage(question);
}
