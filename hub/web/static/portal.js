// The app's own portal: its endpoints, and what became of what they were owed.
import { Deliveries } from "./deliveries.js";
import { edit, jobs, secret } from "./endpoint.js";
import { badge, button, cell, chips, client, confirm, every, explain, figure, make, number, percent, say, show, standing, table, when } from "./ui.js";

const KEPT = "hub.portal";

// The credential comes in the fragment, which no server sees. It moves into this tab's storage, and out of the address.
function credential() {
  const given = /^#token=([\w.-]+)$/.exec(location.hash);
  if (given) {
    sessionStorage.setItem(KEPT, given[1]);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(KEPT);
}

function ends(token) {
  try {
    return new Date(JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"))).exp * 1000);
  } catch {
    return null;
  }
}

let call = null;
let leave = () => {};
let place = 0;

function over(text) {
  leave();
  sessionStorage.removeItem(KEPT);
  show("ends");
  show("view", make("div", { class: "card" }, make("p", { class: "empty" }, text)));
}

function failed(error) {
  if (error && error.status === 401) {
    say("");
    over("This link has ended. Ask whoever gave it to you for a new one.");
  } else if (error && error.status === 404 && location.hash) {
    say("This endpoint is not there any more.", "warn");
    location.hash = "";
  } else say(error ? explain(error) : "Connected again.", error ? (error.status === 0 || error.status === 503 ? "warn" : "bad") : "good");
}

// -- all endpoints -----------------------------------------------------------------------------------------------------

async function list(here) {
  const rows = [];
  let more = "";
  do {
    const { data, pagination } = await call("GET", `/v1/endpoints?limit=100${more}`);
    rows.push(...data);
    more = pagination.next_cursor && rows.length < 500 ? `&after=${encodeURIComponent(pagination.next_cursor)}` : "";
  } while (more);
  const stats = (await call("GET", "/v1/stats")).data;
  if (here !== place) return;  // another place is shown by now
  show("app", stats.app);
  const day = stats.traffic["24h"];
  show("view",
    make("dl", { class: "figures" },
      figure("Endpoints", number(rows.length)), figure("Attempts, 24 h", number(day.attempts)),
      figure("Succeeded, 24 h", percent(day.success_rate)), figure("Owed now", number(stats.standing && stats.standing.backlog.total))),
    make("section", { class: "card", "aria-labelledby": "endpoints-head" },
      make("header", {}, make("h2", { id: "endpoints-head" }, "Endpoints"), make("div", { class: "end" }, button("New endpoint", () => edit(call, null, created), "main"))),
      table(["URL", "Gets", "State", "Changed"], rows.map(row), "No endpoint yet. Make one, and events are sent to it as signed POST requests.")));
}

const row = (one) => make("tr", {},
  cell("", make("a", { class: "mono", href: `#${one.id}` }, one.url), one.description && make("span", { class: "second" }, one.description)),
  cell("small", filters(one)),
  cell("", standing(one)),
  cell("time", when(one.updated_at)));

const filters = (one) => (one.types || one.topics ? [one.types ? chips(one.types) : [], one.topics ? chips(one.topics) : []] : make("span", { class: "dim" }, "all events"));

function created(one) {
  location.hash = one.id;
}

// -- one endpoint ------------------------------------------------------------------------------------------------------

async function detail(id) {
  const deliveries = new Deliveries(call, id);
  const head = make("div", {});
  const figures = make("dl", { class: "figures" });
  const work = jobs(call, id);
  let shown = "";

  async function read() {
    const [one, stats] = (await Promise.all([call("GET", `/v1/endpoints/${id}`), call("GET", `/v1/endpoints/${id}/stats`)])).map((answer) => answer.data);
    const text = JSON.stringify(one);
    if (text !== shown) head.replaceChildren(...top(one, read, deliveries));  // buttons in use stay what they are
    shown = text;
    const day = stats.windows["24h"];
    figures.replaceChildren(
      figure("Attempts, 24 h", number(day.attempts)), figure("Succeeded, 24 h", percent(day.success_rate)),
      figure("Latency", day.latency_ms ? number(day.latency_ms.p95) : "–", "ms, p95"),
      figure("Owed now", number(stats.backlog.total), stats.backlog.retrying ? `${number(stats.backlog.retrying)} to retry` : null));
    await work.read();
    await deliveries.read();
  }

  show("view", head, figures, make("div", { class: "columns uneven" }, deliveries.element, make("div", {}, secret(call, id), work.element)));
  return read;
}

function top(one, read, deliveries) {
  const test = async () => {
    const sent = (await call("POST", `/v1/endpoints/${one.id}/test`, {})).data;
    deliveries.more = false;
    deliveries.open.set(sent.id, { ...sent, attempts: [] });
    say("A test event is on its way.");
    await settled(sent.id);
    await read();
  };
  const pause = async () => {
    await call("PATCH", `/v1/endpoints/${one.id}`, { enabled: !one.enabled });
    say(one.enabled ? "Paused. What it is owed is kept, and sent when it is enabled." : "Enabled.");
    await read();
  };
  const remove = async () => {
    if (!(await confirm("Delete this endpoint?", "Nothing more is sent to it, and what it is still owed is cancelled. This can't be undone.", "Delete"))) return;
    leave();
    try {
      await call("DELETE", `/v1/endpoints/${one.id}`);
    } catch (error) {
      route();
      throw error;
    }
    say("The endpoint is deleted.");
    location.hash = "";
  };
  return [
    make("p", { class: "back" }, make("a", { href: "#" }, "← All endpoints")),
    make("section", { class: "card", "aria-labelledby": "endpoint-head" },
      make("header", {}, make("h2", { id: "endpoint-head", class: "mono" }, one.url), standing(one),
        make("div", { class: "end" }, one.enabled && button("Send test event", test, "main"), button(one.enabled ? "Pause" : "Enable", pause, one.enabled ? null : "main"),
          button("Edit", () => edit(call, one, read)), button("Delete", remove, "danger"))),
      make("div", { class: "inside" },
        one.description && make("p", {}, one.description),
        make("p", { class: "small" }, make("span", { class: "dim" }, "Gets "), filters(one), one.ordered && badge("in order per topic"), one.rate_limit && badge(`at most ${one.rate_limit.limit} per ${one.rate_limit.period} s`), one.transform && badge("transformed"), one.format !== "standard" && badge(one.format)),
        one.filter && make("p", { class: "small" }, make("span", { class: "dim" }, "Only where "), make("code", {}, one.filter)),
        one.permission && one.permission.state !== "granted" && make("p", { class: "small" }, one.permission.reason ? `It has not agreed: ${one.permission.reason}.` : "It is asked whether it agrees."),
        one.failing_since && make("p", { class: "small" }, "Nothing has been taken since the failures began, ", when(one.failing_since), "."))),
  ];
}

// Waits a little for a test event's first attempt, so that its outcome is what one sees.
async function settled(id) {
  for (let n = 0; n < 20; n += 1) {
    if ((await call("GET", `/v1/deliveries/${id}`)).data.attempt_count) return;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

// -- where one is ------------------------------------------------------------------------------------------------------

async function route() {
  leave();
  place += 1;
  const here = place;
  const id = /^#(ep_[0-9a-f]{24})$/.exec(location.hash);
  try {
    if (id) leave = every(5, await detail(id[1]), failed);
    else leave = every(10, () => list(here), failed);
  } catch (error) {
    failed(error);
  }
}

function main() {
  const token = credential();
  if (!token) {
    over("This page opens by a link that is made for you. Ask whoever runs your webhooks for one.");
    return;
  }
  call = client(token);
  const end = ends(token);
  if (end) show("ends", "Link ends ", when(end.toISOString()));
  addEventListener("hashchange", () => (location.hash.startsWith("#token=") ? location.reload() : route()));
  route();
}

main();
