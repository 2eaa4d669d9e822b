// Bare `ws`, the most used WebSocket library of Node: node ws.mjs PORT
//
// The room is the path; an event is sent to each of its members. No store, no credentials, no resuming.
import { WebSocketServer } from "ws";

import { listen, publishingServer } from "./http.mjs";

const rooms = new Map();
const server = publishingServer((event) => {
  const data = Buffer.from(JSON.stringify(event));
  for (const socket of rooms.get(event.topic) ?? []) socket.send(data, { binary: false });
});
const sockets = new WebSocketServer({ server, perMessageDeflate: false, clientTracking: false });
sockets.on("connection", (socket, request) => {
  const room = request.url.slice(1);
  const members = rooms.get(room) ?? new Set();
  rooms.set(room, members.add(socket));
  socket.on("close", () => members.delete(socket));
  socket.on("error", () => socket.terminate());
});
listen(server, Number(process.argv[2]));
