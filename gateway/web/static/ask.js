// Asking once, whatever the network does: one idempotency key for a question, and what a cut connection missed is
// fetched from the answer's log. A question is never sent a second time under another key.

import { Refused, headers, ticket, through } from "./access.js";
import { Decoder } from "./sse.js";

const WAITS_MS = [200, 600, 1200, 2400, 5000, 10000];
// Characters of an address that asks; the server takes 8,190 bytes with the rest of the line.
const ADDRESS_CHARACTERS = 7500;
const TERMINAL = new Set(["done", "failed"]);

// Not crypto.randomUUID(): it is missing where the page is served over plain HTTP from another machine.
export const newKey = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((n) => n.toString(16).padStart(2, "0")).join("");

/**
 * The events of one answer, as `{name, id, n, data}` with `data` parsed and `n` the event's number, each exactly once and in
 * order, up to `done` or `failed`. Between them may come `{name: "known", data: {id}}` when the answer has an id that can be
 * stopped, and `{name: "waiting"}` when the connection was lost and is being made again.
 *
 * `key` is the question's idempotency key. For an answer that was begun before, `id` is its id and `seen` the number of the
 * last event that is here already.
 *
 * Throws Refused where the server refuses, AbortError when `signal` fires.
 */
export async function* answer(question, { signal, silenceMs, key, id = null, seen = 0 }) {
  let tries = 0;
  const sent = ticket(); // an answer stays open to the ticket that began it, also when that has expired
  for (;;) {
    const silence = new AbortController();
    const both = AbortSignal.any([signal, silence.signal]);
    try {
      const response = id
        ? await fetch(through(`/answers/${id}/events`, sent), {
            headers: { ...headers(), ...(seen && { "Last-Event-ID": `${id}.${seen}` }) },
            signal: both,
          })
        : await asked(question, key, sent, both);
      if (!response.ok) throw await Refused.from(response);
      if (response.status === 204) return; // there is nothing after what was seen
      const known = response.headers.get("X-Answer-Id");
      if (known && known !== id) yield { name: "known", data: { id: (id = known) } };
      for await (const event of events(response.body, () => silence.abort(), silenceMs)) {
        const n = Number(event.id.slice(event.id.lastIndexOf(".") + 1));
        if (n <= seen) continue;
        [seen, tries] = [n, 0];
        yield { ...event, n };
        if (TERMINAL.has(event.name)) return;
      }
    } catch (error) {
      if (signal.aborted || (error instanceof Refused && !(id && error.status >= 500))) throw error;
      if (!(error instanceof Refused || error instanceof TypeError || silence.signal.aborted)) throw error;
    }
    // Here the connection ended without the answer's end: cut, silent, or a proxy in between gave up.
    if (tries === WAITS_MS.length)
      throw new Refused(0, { code: "unreachable", message: "", retryable: true, retry_after: null, request_id: null });
    yield { name: "waiting" };
    await pause(WAITS_MS[tries++], signal);
  }
}

/**
 * Sends the question: by POST, or by GET with a ticket, which opens only that. Older turns that an address has no room for
 * are left out.
 */
function asked(question, key, sent, signal) {
  const accept = { Accept: "text/event-stream" };
  if (!sent) {
    return fetch("/getAnwser", {
      method: "POST",
      headers: { ...headers(), ...accept, "Content-Type": "application/json", "Idempotency-Key": key },
      body: JSON.stringify(question),
      signal,
    });
  }
  const { history = [], ...fields } = question;
  for (let first = 0; ; first++) {
    const turns = history.slice(first);
    const query = new URLSearchParams({ ...fields, ...(turns.length && { history: JSON.stringify(turns) }), key });
    const path = through(`/getAnwser?${query}`, sent);
    if (path.length <= ADDRESS_CHARACTERS || !turns.length) return fetch(path, { headers: accept, signal });
  }
}

/** The events of a statement that a person edited; no model is asked. Throws Refused. */
export async function* statement(sql, database, silenceMs) {
  const silence = new AbortController();
  const response = await fetch("/sql", {
    method: "POST",
    headers: { ...headers(), "Content-Type": "application/json", Accept: "text/event-stream" },
    body: JSON.stringify({ sql, database }),
    signal: silence.signal,
  });
  if (!response.ok) throw await Refused.from(response);
  yield* events(response.body, () => silence.abort(), silenceMs);
}

/** The response that gives every row of a statement as CSV for a spreadsheet. Throws Refused. */
export async function everyRow(sql, database) {
  const response = await fetch("/sql", {
    method: "POST",
    headers: { ...headers(), "Content-Type": "application/json", Accept: "text/csv" },
    body: JSON.stringify({ sql, database, all_rows: true, spreadsheet: true }),
  });
  if (!response.ok) throw await Refused.from(response);
  return response;
}

/** The events in `body`; `onSilence` is called when nothing, not even a heartbeat, came for `silenceMs`. */
async function* events(body, onSilence, silenceMs) {
  const reader = body.getReader();
  const text = new TextDecoder();
  const decoder = new Decoder();
  let timer;
  try {
    for (;;) {
      timer = setTimeout(onSilence, silenceMs);
      const { done, value } = await reader.read();
      clearTimeout(timer);
      if (done) return;
      for (const event of decoder.feed(text.decode(value, { stream: true }))) {
        yield { ...event, data: JSON.parse(event.data, exact) };
      }
    }
  } finally {
    clearTimeout(timer);
    reader.cancel().catch(() => {});
  }
}

/** Keeps an integer that a JavaScript number cannot hold as its digits, so that a table never shows another number. */
function exact(_, value, context) {
  return Number.isInteger(value) && !Number.isSafeInteger(value) && context?.source ? context.source : value;
}

/** Resolves after `ms`, or at once when the machine is back online. */
function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const ends = new AbortController();
    const end = (then) => () => (ends.abort(), clearTimeout(timer), then());
    const timer = setTimeout(end(resolve), ms);
    addEventListener("online", end(resolve), { signal: ends.signal });
    signal.addEventListener(
      "abort",
      end(() => reject(signal.reason)),
      { signal: ends.signal },
    );
  });
}
