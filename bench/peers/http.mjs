// What both servers have in common: a small HTTP route that events are published to, as cheap as Node makes it.
import { createServer } from "node:http";

/** An HTTP server whose `POST /publish` takes an event or an array of them, and gives each to `publish`. */
export function publishingServer(publish) {
  return createServer((request, response) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      if (request.method !== "POST" || request.url !== "/publish") {
        response.writeHead(404, { "content-length": 0 }).end();
        return;
      }
      const events = JSON.parse(Buffer.concat(chunks).toString());
      for (const event of Array.isArray(events) ? events : [events]) publish(event);
      response.writeHead(202, { "content-length": 2, "content-type": "application/json" }).end("{}");
    });
  });
}

/** Listens on the loopback interface; ends at once on SIGTERM. */
export function listen(server, port) {
  server.keepAliveTimeout = 0; // the publisher keeps its connections
  server.listen(port, "127.0.0.1", 4096);
  process.on("SIGTERM", () => process.exit(0));
}
