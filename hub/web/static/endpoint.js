// Parts of an endpoint's page: the form that makes and changes it, its secret, and its jobs.
import { block, button, cell, confirm, dialog, explain, field, make, say, status, table, when, words } from "./ui.js";

const DAY = 86400;
const FORMATS = [["standard", "The event as it was published"], ["cloudevents-structured", "CloudEvents, structured"], ["cloudevents-binary", "CloudEvents, binary"]];

// What few need: closed, unless something of it is set.
function more(one) {
  const given = (name, none = "") => (one ? one[name] ?? none : none);
  const lines = Object.entries(given("headers", {})).map(([name, text]) => `${name}: ${text}`).join("\n");
  const chosen = given("format", "standard");
  const set = given("filter") || given("transform") || lines || given("handshake") || chosen !== "standard";
  return make("details", { class: "more", open: Boolean(set) }, make("summary", {}, "More"),
    field("Filter", { tag: "textarea", name: "filter", class: "mono", maxlength: 2000, value: given("filter"), placeholder: "data.total > `100`" }, "JMESPath over the event: only those for which it is true"),
    field("Transform", { tag: "textarea", name: "transform", class: "mono", maxlength: 2000, value: given("transform"), placeholder: "{order: topic, sum: data.total}" }, "JMESPath: its result is sent in place of the event"),
    field("Headers", { tag: "textarea", name: "headers", class: "mono", value: lines, placeholder: "Authorization: Bearer …" }, "One per line, as Name: value; sent with every request"),
    make("label", {}, "Format", make("select", { name: "format" }, FORMATS.map(([value, text]) => make("option", { value, selected: value === chosen }, text)))),
    make("div", { class: "row" },
      field("At once", { name: "max_in_flight", type: "number", min: 1, max: 1000, value: given("max_in_flight", 10) }, "Requests under way"),
      field("Backlog", { name: "max_backlog", type: "number", min: 1, max: 1000000, value: given("max_backlog", 100000) }, "Owed at most; more disables it")),
    make("label", { class: "check" }, make("input", { type: "checkbox", name: "handshake", checked: Boolean(given("handshake")) }), "Ask it first whether it agrees (CloudEvents handshake)"));
}

function headers(text) {
  return Object.fromEntries(text.split("\n").filter((line) => line.trim()).map((line) => {
    const [, name, value] = /^([^:]+):(.*)$/.exec(line) || [];
    if (!name) throw new SyntaxError(`Headers are one per line, as Name: value; not ${line.trim()}`);
    return [name.trim(), value.trim()];
  }));
}

export function edit(call, one, done) {
  const told = make("p", { class: "small", role: "alert" });
  const value = (name) => form.elements[name].value.trim();
  const form = make("form", {},
    field("URL", { name: "url", type: "url", required: true, value: one ? one.url : "", placeholder: "https://example.com/webhooks" }),
    field("Description", { name: "description", value: one ? one.description : "", maxlength: 1000 }),
    make("div", { class: "row" },
      field("Event types", { name: "types", value: one && one.types ? one.types.join(", ") : "", placeholder: "order.*, invoice.paid" }, "Empty: all types"),
      field("Topics", { name: "topics", value: one && one.topics ? one.topics.join(", ") : "", placeholder: "orders.**" }, "Empty: all topics")),
    make("div", { class: "row" },
      field("At most, per second", { name: "rate", type: "number", min: 1, max: 10000, value: one && one.rate_limit && one.rate_limit.period === 1 ? one.rate_limit.limit : "" }, "Empty: no limit"),
      make("label", { class: "check" }, make("input", { type: "checkbox", name: "ordered", checked: Boolean(one && one.ordered) }), "Strictly in order, per topic")),
    more(one),
    told,
    make("div", { class: "buttons end" }, make("button", { type: "button", onclick: () => box.close() }, "Cancel"), make("button", { class: "main" }, one ? "Save" : "Create")));
  const box = dialog(one ? "Edit endpoint" : "New endpoint", form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const list = (name) => (value(name) ? words(value(name)) : null);
    const { ordered, handshake } = form.elements;
    const given = {
      url: value("url"), description: value("description"), types: list("types"), topics: list("topics"), ordered: ordered.checked, handshake: handshake.checked,
      filter: value("filter") || null, transform: value("transform") || null, format: value("format"),
    };
    for (const name of ["max_in_flight", "max_backlog"]) if (value(name)) given[name] = Number(value(name));
    if (value("rate")) given.rate_limit = { limit: Number(value("rate")), period: 1 };
    else if (!one || !one.rate_limit || one.rate_limit.period === 1) given.rate_limit = null;  // others are set by API
    try {
      given.headers = headers(value("headers"));
      const { data } = await call(one ? "PATCH" : "POST", one ? `/v1/endpoints/${one.id}` : "/v1/endpoints", given);
      box.close();
      say(one ? "Saved." : "The endpoint is there. Its secret is what your receiver verifies with.");
      done(data);
    } catch (error) {
      told.className = "notice bad small";
      told.replaceChildren(explain(error));
    }
  });
}

export function secret(call, id) {
  const shown = make("div", {});
  const at = `/v1/endpoints/${id}/secret`;

  function paint(found) {
    const copy = async () => { await navigator.clipboard.writeText(found.secret); say("Copied."); };
    shown.replaceChildren(...(found === null ? [] : [
      block(found.secret),
      ...found.previous.map((one) => make("p", { class: "small dim" }, "The one before signs too, and ends ", when(one.expires_at), ".")),
    ]));
    buttons.replaceChildren(...(found === null
      ? [button("Reveal", async () => paint((await call("GET", at)).data))]
      : [navigator.clipboard ? button("Copy", copy) : "", button("Hide", () => paint(null))]), button("Rotate", rotate));
  }

  async function rotate() {
    if (!(await confirm("Rotate the secret?", "A new secret signs at once. The present one signs beside it for a day, so that your receiver can change over without a gap.", "Rotate"))) return;
    paint((await call("POST", `${at}/rotate`, { grace: DAY })).data);
    say("There is a new secret. Give it to your receiver within a day.");
  }

  const buttons = make("div", { class: "buttons" });
  paint(null);
  return make("section", { class: "card", "aria-labelledby": "secret-head" },
    make("header", {}, make("h2", { id: "secret-head" }, "Signing secret")),
    make("div", { class: "inside" }, make("p", { class: "small dim" }, "Your receiver verifies each request with it (Standard Webhooks)."), shown, buttons));
}

export function jobs(call, id) {
  const span = make("select", { class: "narrow", "aria-label": "Since" },
    [[3600, "last hour"], [DAY, "last day"], [7 * DAY, "last 7 days"]].map(([value, text]) => make("option", { value }, text)));
  const found = make("div", {});

  async function start(kind, told) {
    await call("POST", `/v1/endpoints/${id}/${kind}`, { since: new Date(Date.now() - 1000 * Number(span.value)).toISOString() });
    say(told);
    await read();
  }

  async function replay() {
    if (await confirm("Send everything again?", "All events of this time that match are sent once more, also those that were delivered. Your receiver must know them by their webhook-id.", "Replay"))
      await start("replay", "What matched is sent again.");
  }

  async function read() {
    const { data } = await call("GET", `/v1/endpoints/${id}/jobs`);
    found.replaceChildren(...(data.length ? [table(["Job", "State", ">Owed"], data.slice(0, 5).map((one) => make("tr", {},
      cell("", one.kind, make("span", { class: "second" }, "since ", when(one.since))),
      cell("", status(one.status), one.status === "running" && make("span", { class: "second" }, `${Math.round(one.progress * 100)} % `)),
      cell("right", String(one.owed)))), "")] : []));
  }

  const element = make("section", { class: "card", "aria-labelledby": "jobs-head" },
    make("header", {}, make("h2", { id: "jobs-head" }, "Send again"), make("div", { class: "end" }, span)),
    make("div", { class: "inside" }, make("p", { class: "small dim" }, "Recover what failed, or replay all that matched."),
      make("div", { class: "buttons" }, button("Recover failed", () => start("recover", "What failed is sent again.")), button("Replay all", replay))),
    found);
  return { element, read };
}
