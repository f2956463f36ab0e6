// Conversations on this device, in IndexedDB: a record for each conversation and one for each of its turns.
//
// conversation  {id, title, updated}
// turn          {conversation, n, question, asked, fields, key, id, seen, began, events, over, rating}
//
// `events` are the answer's, as {name, data}, up to the one numbered `seen`; `key` is the idempotency key that the
// question was sent with. With these three a reload goes on where the page stood, and asks nothing twice.

const NAME = "sluice";
const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

let database = null; // a promise of the database, or of null where this browser keeps none

function opened() {
  database ??= new Promise((resolve) => {
    let request;
    try {
      request = indexedDB.open(NAME, 1);
    } catch {
      return resolve(null);
    }
    request.onupgradeneeded = () => {
      request.result.createObjectStore("conversations", { keyPath: "id" });
      request.result.createObjectStore("turns", { keyPath: ["conversation", "n"] });
    };
    request.onsuccess = () => resolve(request.result);
    // A private window may have none: then a conversation lasts as long as its tab.
    request.onerror = request.onblocked = () => resolve(null);
  });
  return database;
}

async function within(stores, mode, act) {
  const base = await opened();
  if (!base) return undefined;
  try {
    const transaction = base.transaction(stores, mode);
    return await act(...stores.map((name) => transaction.objectStore(name)));
  } catch {
    return undefined; // a full disk costs the memory of a conversation, not the conversation
  }
}

const turnsOf = (id) => IDBKeyRange.bound([id], [id, []]);

/** All conversations, the one used last first. */
export async function list() {
  const all = (await within(["conversations"], "readonly", (conversations) => done(conversations.getAll()))) ?? [];
  return all.sort((a, b) => b.updated - a.updated);
}

/** The turns of a conversation in their order. */
export const load = async (id) =>
  (await within(["turns"], "readonly", (turns) => done(turns.getAll(turnsOf(id))))) ?? [];

/** Keeps a conversation, without its turns. */
export const save = (conversation) =>
  within(["conversations"], "readwrite", (conversations) => done(conversations.put(conversation)));

/** Keeps a turn. */
export const saveTurn = (turn) => within(["turns"], "readwrite", (turns) => done(turns.put(turn)));

/** Forgets a turn. */
export const removeTurn = (turn) =>
  within(["turns"], "readwrite", (turns) => done(turns.delete([turn.conversation, turn.n])));

/** Forgets a conversation and its turns. */
export const remove = (id) =>
  within(["conversations", "turns"], "readwrite", (conversations, turns) => {
    conversations.delete(id);
    return done(turns.delete(turnsOf(id)));
  });

/** Adds an event to a turn's record; neighbouring text becomes one event, so that a long answer stays small. */
export function record(turn, { name, data }) {
  const last = turn.events.at(-1);
  const joins = (name === "message" && !data.logprobs) || name === "reasoning";
  if (joins && last?.name === name) last.data = { text: last.data.text + data.text };
  else turn.events.push({ name, data });
}
