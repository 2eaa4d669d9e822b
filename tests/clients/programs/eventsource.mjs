// npm eventsource: the browser's EventSource for Node. It can't set headers, so the token is in the URL.
import { EventSource } from "eventsource";

import { HUB_TOKEN, HUB_URL, TOPIC, connected, say } from "./common.mjs";

const stream = new EventSource(`${HUB_URL}/v1/stream?topic=${TOPIC}&token=${HUB_TOKEN}`);
stream.addEventListener("hub.connected", (e) => connected(JSON.parse(e.data).recovered));
stream.addEventListener("hub.gap", (e) => say({ failed: `gap ${e.data}` }));
stream.addEventListener("message", (e) => say({ event: JSON.parse(e.data).data }));
