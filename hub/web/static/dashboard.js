// The operator's page: an app's figures, endpoints and failures, and its events as they come.
import { follow } from "./live.js";
import { badge, block, busy, byId, cell, client, clock, every, explain, figure, make, number, percent, say, show, standing, table, when } from "./ui.js";

const KEPT = "hub.key";
const MOST = 200;
const SECONDS = 180;
const ENDPOINTS = 20;

let call = null;
let stops = [];
const refused = new Set();

function close() {
  stops.forEach((stop) => stop());
  stops = [];
}

function forget(told) {
  close();
  sessionStorage.removeItem(KEPT);
  byId("view").hidden = byId("out").hidden = true;
  byId("signin").hidden = false;
  show("app");
  byId("key").value = "";
  byId("key").focus();
  say(told, told ? "bad" : "good");
}

function failed(error) {
  if (error && error.status === 401) forget(explain(error));
  else say(error ? explain(error) : "Connected again.", error ? "warn" : "good");
}

// A part that this key may not see says so, once, and isn't asked for again.
const part = (id, read) => async () => {
  if (refused.has(id)) return;
  try {
    await read();
  } catch (error) {
    if (error.status !== 403) throw error;
    refused.add(id);
    show(id, make("p", { class: "empty" }, explain(error)));
  }
};

// -- figures -----------------------------------------------------------------------------------------------------------

const samples = [];

async function figures() {
  const stats = (await call("GET", "/v1/stats")).data;
  const { standing: now, traffic } = stats;
  samples.push({ at: new Date(stats.at) / 1000, total: traffic.total.events });
  while (samples.length > 2 && samples.at(-1).at - samples[0].at > SECONDS) samples.shift();
  const rates = perSecond();
  const owed = now && now.backlog;
  const off = now ? Object.entries(now.states).filter(([state]) => state !== "enabled").reduce((sum, [, count]) => sum + count, 0) : 0;
  show("app", stats.app);
  show("figures",
    figure("Events", rates.length ? number(rates.at(-1).rate) : number(stats.rate.events), "/ s"),
    figure("Events, 24 h", number(traffic["24h"].events)),
    figure("Connections", number(stats.connections)),
    figure("Endpoints", number(stats.endpoints), off ? `${off} off` : null),
    figure("Owed", number(owed && owed.total), owed && owed.retrying ? `${number(owed.retrying)} to retry` : null),
    figure("Oldest unsent", now && now.oldest_owed_at ? when(now.oldest_owed_at) : "–"),
    figure("Success, 24 h", percent(traffic["24h"].success_rate)),
    figure("Exhausted, 24 h", number(traffic["24h"].exhausted)));
  draw(rates);
}

// Counts come in every 2 s, so a rate is taken over 4 s.
function perSecond() {
  return samples.flatMap((one, n) => {
    const before = samples.findLast((other, m) => m < n && one.at - other.at >= 4);
    return before ? [{ at: one.at, rate: Math.max(0, Math.round((10 * (one.total - before.total)) / (one.at - before.at)) / 10) }] : [];
  });
}

function draw(rates) {
  const svg = (d, kind) => {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", d);
    path.setAttribute("class", kind);
    return path;
  };
  if (!rates.length) {
    show("rate-told", "Counting …");
    return;
  }
  const most = Math.max(1, ...rates.map((one) => one.rate));
  const last = rates.at(-1).at;
  const points = rates.map((one) => `${(SECONDS - (last - one.at)).toFixed(1)},${(57 - (54 * one.rate) / most).toFixed(1)}`);
  const line = `M${points.join("L")}`;
  show("rate", svg(`${line}L${SECONDS},60L${points[0].split(",")[0]},60Z`, "area"), svg(line, "line"));
  show("rate-told", `now ${number(rates.at(-1).rate)} · most ${number(Math.max(...rates.map((one) => one.rate)))}`);
}

// -- endpoints, failures, users ----------------------------------------------------------------------------------------

async function endpoints() {
  const { data, pagination } = await call("GET", `/v1/endpoints?limit=${ENDPOINTS}`);
  const stats = await Promise.all(data.map((one) => call("GET", `/v1/endpoints/${one.id}/stats`).then((answer) => answer.data, (error) => {
    if (error.status !== 404) throw error;  // deleted in between
    return null;
  })));
  show("endpoints-told", pagination.has_more ? `the newest ${ENDPOINTS}` : "");
  show("endpoints", table(["URL", "State", ">Owed", ">Attempts, 24 h", ">OK", ">p95"], data.map((one, n) => {
    const day = stats[n] && stats[n].windows["24h"];
    return make("tr", {},
      cell("", make("span", { class: "mono" }, one.url), one.description && make("span", { class: "second" }, one.description)),
      cell("", standing(one)), cell("right", number(stats[n] && stats[n].backlog.total)), cell("right", number(day && day.attempts)),
      cell("right", percent(day && day.success_rate)), cell("right", day && day.latency_ms ? `${number(day.latency_ms.p95)} ms` : "–"));
  }), "No endpoint yet. POST /v1/endpoints registers one."));
}

async function failures() {
  const { data } = await call("GET", "/v1/deliveries?status=exhausted&limit=8");
  const last = await Promise.all(data.map((one) => call("GET", `/v1/deliveries/${one.id}`).then((answer) => answer.data.attempts.at(-1), () => null)));
  show("failures", table(["Event", "Last answer", "When"], data.map((one, n) => make("tr", {},
    cell("", make("span", { class: "mono" }, one.event.type), make("span", { class: "second" }, one.event.topic)),
    cell("", last[n] ? badge(last[n].status ? String(last[n].status) : last[n].error, "bad") : "–", make("span", { class: "second" }, `${one.attempt_count} attempts`)),
    cell("time", when(one.ended_at)))), "No delivery was given up."));
}

async function topics() {
  const { data } = await call("GET", "/v1/topics?limit=8");
  show("topics", table(["Topic", ">Users"], data.map((one) => make("tr", {}, cell("mono", one.topic), cell("right", number(one.count)))), "Nobody with a user's token is in a topic."));
}

// -- live events -------------------------------------------------------------------------------------------------------

let stopTail = () => {};
let held = null;
let seen = 0;

function watch() {
  stopTail();
  seen = 0;
  show("tail", make("p", { class: "empty" }, "Waiting for events …"));
  show("tail-state", badge("connecting …"));
  stopTail = follow(sessionStorage.getItem(KEPT), byId("pattern").value.trim() || "**", told, (state, again) => {
    if (state === "live") show("tail-state", badge("live", "good"));
    else if (state.status === 401) failed(state);
    else {
      show("tail-state", badge(again ? "connection lost, trying again" : "not watching", again ? "warn" : "bad"));
      if (!again) show("tail", make("p", { class: "empty" }, explain(state)));
    }
  });
}

function told(event) {
  if (held) {
    held.push(event);
    if (held.length > MOST) held.shift();
    return;
  }
  const list = byId("tail");
  if (!seen) list.replaceChildren();
  seen += 1;
  list.prepend(event === null ? make("p", { class: "notice warn" }, "Events between these two may be missing.") : line(event));
  while (list.childElementCount > MOST) list.lastElementChild.remove();
}

function line(event) {
  const data = JSON.stringify(event.data);
  const box = make("details", {}, make("summary", {},
    make("span", { class: "dim" }, clock(event.timestamp)), make("span", { class: "mono" }, event.topic), make("span", { class: "mono" }, event.type),
    make("span", { class: "mono dim" }, data.slice(0, 300))));
  box.addEventListener("toggle", () => { if (box.open && box.childElementCount === 1) box.append(block(JSON.stringify(event, null, 2))); });
  return box;
}

function hold() {
  const waiting = held;
  held = held ? null : [];
  byId("hold").textContent = held ? "Go on" : "Pause";
  if (waiting) waiting.forEach(told);
}

async function publish() {
  let data;
  try {
    data = JSON.parse(byId("data").value || "null");
  } catch (error) {
    throw new Error(`The data is no JSON: ${error.message}`);
  }
  const { data: made } = await call("POST", "/v1/events", { topic: byId("topic").value.trim(), type: byId("type").value.trim(), data });
  show("published", `Published as ${made.id}`);
}

// -- the page ----------------------------------------------------------------------------------------------------------

async function open(key) {
  call = client(key);
  await call("GET", "/v1/stats?fields=app").catch((error) => { if (error.status !== 403) throw error; });
  sessionStorage.setItem(KEPT, key);
  byId("key").value = "";
  refused.clear();
  samples.length = 0;
  say("");
  byId("signin").hidden = true;
  byId("view").hidden = byId("out").hidden = false;
  watch();
  stops = [
    () => stopTail(), every(2, part("figures", figures), failed), every(5, part("endpoints", endpoints), failed),
    every(5, part("failures", failures), failed), every(5, part("topics", topics), failed),
  ];
}

byId("signin").addEventListener("submit", (event) => {
  event.preventDefault();
  busy(event.submitter || event.target.querySelector("button"), () => open(byId("key").value.trim()));
});
byId("tail-form").addEventListener("submit", (event) => { event.preventDefault(); watch(); });
byId("publish").addEventListener("submit", (event) => {
  event.preventDefault();
  busy(event.target.querySelector("button"), publish);
});
byId("hold").addEventListener("click", hold);
byId("out").addEventListener("click", () => forget(""));

const known = sessionStorage.getItem(KEPT);
if (known) open(known).catch((error) => (error.status === 401 ? forget(explain(error)) : failed(error)));
else byId("key").focus();
