// What every program here does: it says on its standard output, one JSON a line, when it is connected and what it got;
// once it is connected it publishes one event of its own; and it ends with its standard input.
export const { HUB_URL, HUB_KEY, HUB_TOKEN, TOPIC } = process.env;
export const say = (what) => console.log(JSON.stringify(what));

let published = false;

export async function connected(recovered, publish = post) {
  say({ connected: true, recovered });
  if (published) return;
  published = true;
  await publish("hello");
}

async function post(data) {
  const response = await fetch(`${HUB_URL}/v1/events`, {
    method: "POST",
    headers: { authorization: `Bearer ${HUB_KEY}`, "content-type": "application/json" },
    body: JSON.stringify({ topic: TOPIC, type: "test.event", data }),
  });
  if (response.status !== 202) say({ failed: await response.text() });
}

process.stdin.resume().on("end", () => process.exit(0));
