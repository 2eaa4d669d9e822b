// npm @microsoft/fetch-event-source: EventSource by fetch, with headers. It is made for pages, so it gets a window.
globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };

const { fetchEventSource } = await import("@microsoft/fetch-event-source");
const { HUB_KEY, HUB_URL, TOPIC, connected, say } = await import("./common.mjs");

await fetchEventSource(`${HUB_URL}/v1/stream?topic=${TOPIC}`, {
  headers: { authorization: `Bearer ${HUB_KEY}` },
  onmessage(e) {
    if (e.event === "hub.connected") connected(JSON.parse(e.data).recovered);
    else if (e.event === "hub.gap") say({ failed: `gap ${e.data}` });
    else if (e.data) say({ event: JSON.parse(e.data).data });
  },
  onclose() {
    throw new Error("the hub restarts"); // without it a stream that was ended properly would not be opened again
  },
});
