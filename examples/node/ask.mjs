// Ask with fetch, in Node.js 20 or newer or in a browser: the events as they come.
const url = process.env.SLUICE_URL ?? "http://127.0.0.1:9001";
const question = process.argv[2] ?? "沈塘桥地铁站的信息";
const headers = { "Content-Type": "application/json" };
if (process.env.KEY) headers.Authorization = `Bearer ${process.env.KEY}`;
const body = { question, ...(process.env.DATABASE ? { database: process.env.DATABASE } : {}) };

const reply = await fetch(`${url}/getAnwser`, { method: "POST", headers, body: JSON.stringify(body) });
if (!reply.ok) throw new Error((await reply.json()).error.message);
let rest = "";
for await (const text of reply.body.pipeThrough(new TextDecoderStream())) {
  const blocks = (rest + text).split("\n\n");
  rest = blocks.pop();
  for (const block of blocks) {
    const fields = Object.fromEntries(block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
    const data = JSON.parse(fields.data);
    if (!fields.event) process.stdout.write(data.text);
    else if (fields.event === "rows") console.log("\n", data.rows);
    else if (fields.event === "failed") throw new Error(data.message);
  }
}
process.stdout.write("\n");
