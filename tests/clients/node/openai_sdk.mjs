// OpenAI's client for Node: chat completions.
import OpenAI from "openai";

const [base, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "any", maxRetries: 0 });
const messages = [{ role: "user", content: `node ${model}` }];
let text = "";
let error = "";
let calls = "";
try {
  const stream = await client.chat.completions.create({ model, messages, stream: true });
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    for (const call of chunk.choices[0]?.delta?.tool_calls ?? []) calls += call.function?.arguments ?? "";
  }
} catch (raised) {
  error = raised.code ?? String(raised);
}
console.log(JSON.stringify({ text, calls, error }));
