// Follows a topic pattern over server-sent events. EventSource can't send a header, and a key doesn't belong into a URL,
// so the stream is read by fetch. A stream that breaks off is taken up again behind the last event that was seen.
import { Refused } from "./ui.js";

const LONGEST = 15000;

// `told` is called with an event, `state` with "live", or an error and whether it is tried again. Returns what ends it.
export function follow(credential, pattern, told, state) {
  const ending = new AbortController();
  run(credential, pattern, told, state, ending.signal);
  return () => ending.abort();
}

async function run(credential, pattern, told, state, signal) {
  let cursor = null;
  let pause = 500;
  while (!signal.aborted) {
    try {
      const headers = { Authorization: `Bearer ${credential}`, Accept: "text/event-stream" };
      if (cursor) headers["Last-Event-ID"] = cursor;
      const response = await fetch(`/v1/stream?topic=${encodeURIComponent(pattern)}`, { headers, signal, cache: "no-store" });
      if (!response.ok) {
        const { code, message, details } = (await response.json()).error;
        throw new Refused(response.status, code, message, details);
      }
      pause = 500;
      state("live");
      for await (const block of blocks(response.body)) {
        if (block.id) cursor = block.id;
        if (block.event === "hub.gap") told(null);
        else if (!block.event && block.data) told(JSON.parse(block.data));
      }
      if (!signal.aborted) throw new Refused(0, "NETWORK", "the stream ended");
    } catch (error) {
      if (signal.aborted) return;
      const found = error instanceof Refused ? error : new Refused(0, "NETWORK", error.message);
      const again = found.status === 0 || found.status === 429 || found.status >= 500;
      state(found, again);
      if (!again) return;
    }
    await new Promise((resolve) => setTimeout(resolve, pause * (1 + Math.random())));
    pause = Math.min(2 * pause, LONGEST);
  }
}

// The blocks of a stream (HTML Living Standard, "Interpreting an event stream"), as the hub writes them: by LF alone.
async function* blocks(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value.replaceAll("\r\n", "\n");
    for (let end = held.indexOf("\n\n"); end >= 0; end = held.indexOf("\n\n")) {
      yield parse(held.slice(0, end));
      held = held.slice(end + 2);
    }
  }
}

function parse(text) {
  const block = {};
  for (const line of text.split("\n")) {
    const [, name, value] = /^([a-z]+): ?(.*)$/.exec(line) || [];
    if (name) block[name] = name === "data" && block.data !== undefined ? `${block.data}\n${value}` : value;
  }
  return block;
}
