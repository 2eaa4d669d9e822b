// An endpoint's deliveries: a table whose rows open to their attempts, with what can be done about each.
import { ago, block, button, byId, cell, clock, make, say, show, status, table, when } from "./ui.js";

const PAGE = 20;

export class Deliveries {
  constructor(call, endpoint) {
    Object.assign(this, { call, endpoint, wanted: "", rows: [], next: null, open: new Map(), more: false });
    this.body = make("div", { id: "deliveries" }, make("p", { class: "empty" }, "Loading …"));
    const select = make("select", { class: "narrow", "aria-label": "Status", onchange: () => { this.wanted = select.value; this.more = false; this.read(); } },
      [["", "All"], ["pending", "Pending"], ["succeeded", "Succeeded"], ["exhausted", "Exhausted"], ["cancelled", "Cancelled"]]
        .map(([value, text]) => make("option", { value }, text)));
    this.element = make("section", { class: "card", "aria-labelledby": "deliveries-head" },
      make("header", {}, make("h2", { id: "deliveries-head" }, "Deliveries"), make("div", { class: "end" }, select, button("Refresh", () => this.read()))),
      this.body);
  }

  path(after) {
    const query = new URLSearchParams({ endpoint: this.endpoint, limit: PAGE });
    if (this.wanted) query.set("status", this.wanted);
    if (after) query.set("after", after);
    return `/v1/deliveries?${query}`;
  }

  // The newest page anew, and what is open in it. Who looks at older pages isn't disturbed by it.
  async read() {
    if (this.more) return;
    const { data, pagination } = await this.call("GET", this.path());
    Object.assign(this, { rows: data, next: pagination.next_cursor });
    await this.reopen();
    this.paint();
  }

  async reopen() {
    for (const [id, known] of this.open) {
      const row = this.rows.find((one) => one.id === id);
      if (row && row.attempt_count === known.attempt_count && row.status === known.status) continue;
      this.open.set(id, (await this.call("GET", `/v1/deliveries/${id}`)).data);
    }
  }

  async older() {
    const { data, pagination } = await this.call("GET", this.path(this.next));
    Object.assign(this, { rows: [...this.rows, ...data], next: pagination.next_cursor, more: true });
    this.paint();
  }

  async toggle(id) {
    if (!this.open.delete(id)) this.open.set(id, (await this.call("GET", `/v1/deliveries/${id}`)).data);
    this.paint();
    byId(`row-${id}`).querySelector("button").focus();
  }

  async act(id, verb) {
    const { data } = await this.call("POST", `/v1/deliveries/${id}/${verb}`);
    say(verb === "retry" ? "The delivery is tried again." : "The delivery is cancelled.");
    this.rows = this.rows.map((one) => (one.id === id ? data : one));
    if (this.open.has(id)) this.open.set(id, (await this.call("GET", `/v1/deliveries/${id}`)).data);
    this.paint();
  }

  paint() {
    if (!this.body.isConnected) return;  // another place is shown by now
    const rows = this.rows.flatMap((one) => (this.open.has(one.id) ? [this.row(one), this.detail(one)] : [this.row(one)]));
    show(this.body,
      table(["Event", "Status", ">Attempts", "When", ""], rows, this.wanted ? "No delivery stands so." : "Nothing was owed to this endpoint yet. Send a test event to see one."),
      this.next && make("div", { class: "inside" }, button("Older", () => this.older())));
  }

  row(one) {
    const isOpen = this.open.has(one.id);
    const act = one.status === "pending" ? button("Cancel", () => this.act(one.id, "cancel")) : button("Retry", () => this.act(one.id, "retry"));
    return make("tr", { id: `row-${one.id}` },
      cell("wide",
        make("button", { type: "button", class: "link mono", "aria-expanded": String(isOpen), onclick: () => this.toggle(one.id).catch((error) => say(error.message, "bad")) }, one.event.type),
        make("span", { class: "second" }, one.event.topic, one.origin ? (one.origin === "test" ? " · test event" : " · replayed") : "")),
      cell("", status(one.status), one.next_attempt_at && new Date(one.next_attempt_at) > Date.now() && make("span", { class: "second" }, "next ", ago(one.next_attempt_at))),
      cell("right", String(one.attempt_count)),
      cell("time", when(one.created_at)),
      cell("right", act));
  }

  detail(one) {
    const found = this.open.get(one.id);
    const attempts = found.attempts.map((attempt) => make("div", {},
      make("p", {}, make("b", {}, `Attempt ${attempt.number} `), attempt.error ? make("span", { class: "badge bad" }, attempt.status ? `${attempt.status}` : attempt.error) : make("span", { class: "badge good" }, String(attempt.status)),
        make("span", { class: "dim small" }, " ", attempt.error && attempt.status && attempt.error !== "status" ? `${attempt.error} · ` : "", clock(attempt.at), ` · ${attempt.duration_ms} ms`)),
      attempt.body ? block(attempt.body) : null));
    return make("tr", { class: "inner" }, make("td", { colspan: 5 },
      make("div", { class: "small dim" }, "Event ", make("code", {}, found.event.id), " · delivery ", make("code", {}, one.id)),
      attempts.length ? attempts : make("p", { class: "dim" }, "No attempt was made yet.")));
  }
}
