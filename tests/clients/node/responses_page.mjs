// A page with OpenAI's client: a response in the background, which a reload reads on with `starting_after`.
import OpenAI from "openai";

const parameters = new URLSearchParams(location.search);
const client = new OpenAI({ baseURL: `${parameters.get("sluice")}/v1`, apiKey: parameters.get("key"), dangerouslyAllowBrowser: true });
const answer = document.querySelector("#app");
const kept = JSON.parse(sessionStorage.getItem("response") ?? "null") ?? { id: null, number: -1, text: "" };
const stream = kept.id
  ? await client.responses.retrieve(kept.id, { stream: true, starting_after: kept.number })
  : await client.responses.create({ model: "slow", input: parameters.get("question"), stream: true, background: true });
answer.textContent = kept.text;
for await (const event of stream) {
  kept.id ??= event.response.id;
  if (event.sequence_number !== kept.number + 1) throw new Error(`${event.sequence_number} after ${kept.number}`);
  kept.number = event.sequence_number;
  if (event.type === "response.output_text.delta") kept.text += event.delta;
  if (event.type === "response.completed") answer.dataset.ended = "done";
  sessionStorage.setItem("response", JSON.stringify(kept));
  answer.textContent = kept.text;
}
