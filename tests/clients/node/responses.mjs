// The Responses API with OpenAI's client for Node, and with the default model of @ai-sdk/openai.
import { createOpenAI } from "@ai-sdk/openai";
import { streamText } from "ai";
import OpenAI from "openai";

const [base, what, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "any", maxRetries: 0 });

if (what === "ai") {
  const sdk = createOpenAI({ baseURL: `${base}/v1`, apiKey: "any" });
  let text = "";
  let reasoning = "";
  let error = "";
  const result = streamText({ model: sdk(model), prompt: `ai ${model}`, maxRetries: 0, onError() {} });
  for await (const part of result.fullStream) {
    if (part.type === "text-delta") text += part.text;
    if (part.type === "reasoning-delta") reasoning += part.text;
    if (part.type === "error") error = String(part.error?.message ?? JSON.stringify(part.error));
  }
  console.log(JSON.stringify({ text, reasoning, error, finish: await result.finishReason.then((x) => x, () => "error") }));
} else {
  const stream = await client.responses.create({ model, input: `node ${what}`, stream: true, background: true });
  const seen = [];
  let id = "";
  for await (const event of stream) {
    seen.push(event);
    id ||= event.response?.id ?? "";
    if (what !== "whole" && seen.length === 10) break;
  }
  if (what === "resume") {
    const rest = await client.responses.retrieve(id, { stream: true, starting_after: seen.at(-1).sequence_number });
    for await (const event of rest) seen.push(event);
  }
  const status = what === "cancel" ? (await client.responses.cancel(id)).status : (await client.responses.retrieve(id)).status;
  const text = seen.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta).join("");
  console.log(JSON.stringify({ text, numbers: seen.map((event) => event.sequence_number), status, last: seen.at(-1).type }));
}
