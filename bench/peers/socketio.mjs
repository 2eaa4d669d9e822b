// socket.io with its Redis Streams adapter: node socketio.mjs PORT STORE_SOCKET
//
// WebSocket only. A client joins a room by `join`, acknowledged once it is in. An event that is published is emitted to its
// room through the adapter, so it goes through the stream of the store first, as it does with several servers.
import { createAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

import { listen, publishingServer } from "./http.mjs";

const [port, path] = process.argv.slice(2);
const store = createClient({ socket: { path } });
await store.connect();

const server = publishingServer((event) => io.to(event.topic).emit("event", event));
const io = new Server(server, {
  adapter: createAdapter(store, { onlyPlaintext: true }),
  transports: ["websocket"],
  serveClient: false,
  perMessageDeflate: false,
});
io.on("connection", (socket) => {
  socket.on("join", async (room, joined) => {
    await socket.join(room);
    joined("ok");
  });
});
listen(server, Number(port));
