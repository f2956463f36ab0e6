// The event-stream format, as our own server writes it: lines end with "\n", a blank line ends an event.

/** Turns text, cut anywhere, into events `{name, id, data}`; `data` stays a string. */
export class Decoder {
  #pieces = []; // of the line that is not complete yet
  #event = { name: "message", id: "", data: [] };

  /** The events that `text` completes. */
  feed(text) {
    const lines = text.split("\n");
    // Joined once per line and not per piece: a result of many MiB is one line, in hundreds of pieces.
    if (lines.length > 1) lines[0] = this.#pieces.splice(0).join("") + lines[0];
    this.#pieces.push(lines.pop());
    return lines.map((line) => this.#line(line)).filter(Boolean);
  }

  #line(line) {
    const event = this.#event;
    if (line === "") {
      this.#event = { name: "message", id: event.id, data: [] };
      return event.data.length ? { ...event, data: event.data.join("\n") } : null;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return null; // a comment: the heartbeat
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") event.data.push(value);
    else if (field === "event") event.name = value;
    else if (field === "id") event.id = value;
    return null;
  }
}
