// @microsoft/fetch-event-source with a plain JSON.parse of each message, as its users write it.
import { setTimeout as wait } from "node:timers/promises";
globalThis.window = globalThis;
globalThis.document = { visibilityState: "visible", addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = await import("@microsoft/fetch-event-source");

const [base, provider] = process.argv.slice(2);
let text = "";
let opened = 0;
let ended = "";
const control = new AbortController();
const asking = fetchEventSource(`${base}/getAnwser`, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({ question: `fetched ${provider}`, provider, database: "none" }),
  signal: control.signal,
  openWhenHidden: true,
  async onopen(response) {
    opened += 1;
    if (!response.ok) throw new Error(`status ${response.status}`);
  },
  onmessage(message) {
    const data = JSON.parse(message.data);
    if (message.event === "" || message.event === "message") text += data.text;
    if (message.event === "done" || message.event === "failed") ended = message.event;
  },
  onerror(error) {
    throw error;
  },
});
await Promise.race([asking, wait(8000)]);
control.abort();
console.log(JSON.stringify({ text, opened, ended }));
