// npm ws: a WebSocket that comes back with the cursor of the last event it handled, as docs/live.md asks.
import WebSocket from "ws";

import { HUB_KEY, HUB_URL, TOPIC, connected, say } from "./common.mjs";

let cursor;

function open() {
  const socket = new WebSocket(`${HUB_URL.replace("http", "ws")}/v1/ws`, "hub.v1.json", {
    headers: { authorization: `Bearer ${HUB_KEY}` },
  });
  socket.on("open", () => socket.send(JSON.stringify({ type: "join_room", room: TOPIC, after: cursor })));
  socket.on("message", (data) => {
    const message = JSON.parse(data);
    if (message.type === "room_joined") {
      cursor = message.cursor;
      connected(message.recovered, (data) => socket.send(JSON.stringify({ type: "broadcast", room: TOPIC, data })));
    } else if (message.type === "event") {
      cursor = message.cursor;
      say({ event: message.event.data });
    } else if (message.type === "error" || message.type === "gap") say({ failed: message });
  });
  socket.on("error", () => {});
  socket.on("close", () => setTimeout(open, 100));
}

open();
