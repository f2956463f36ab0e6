// useChat of @ai-sdk/react with POST /chat: streams, resumes after a reload, stops at the upstream.
import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { useState } from "react";

const transport = new DefaultChatTransport({ api: "/chat", body: { database: "metro" } });

export function Chat({ id, initialMessages }) {
  const [text, setText] = useState("");
  const { messages, sendMessage, status } = useChat({ id, messages: initialMessages, transport, resume: true });
  const stop = () => fetch(`/chat/${id}/stream`, { method: "DELETE" });
  return (
    <form onSubmit={(event) => { event.preventDefault(); sendMessage({ text }); setText(""); }}>
      {messages.map((message) => (
        <article key={message.id}>
          {message.parts.map((part, index) => {
            if (part.type === "text") return <p key={index}>{part.text}</p>;
            if (part.type === "data-rows") return <Rows key={index} {...part.data} />;
            return null;
          })}
        </article>
      ))}
      <input value={text} onChange={(event) => setText(event.target.value)} />
      {status === "streaming" && <button type="button" onClick={stop}>Stop</button>}
    </form>
  );
}

function Rows({ columns, rows }) {
  return (
    <table>
      <thead><tr>{columns.map((column) => <th key={column.name}>{column.name}</th>)}</tr></thead>
      <tbody>{rows.map((row, n) => <tr key={n}>{row.map((value, m) => <td key={m}>{String(value ?? "")}</td>)}</tr>)}</tbody>
    </table>
  );
}
