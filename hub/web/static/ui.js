// What the dashboard and the portal share. All that comes from the hub becomes text nodes: nothing here parses HTML.

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Text as it is, in a box that may scroll: so that keys can scroll it too, it can be gone to.
export const block = (text) => make("pre", { tabindex: "0" }, text);

export const byId = (id) => document.getElementById(id);

// Replaces what is in an element. Who was at a button there is at the same one afterwards: the same text in the same row.
export function show(target, ...children) {
  const box = typeof target === "string" ? byId(target) : target;
  const name = (element) => `${element.closest("[id]").id} ${element.textContent}`;
  const at = document.activeElement && box !== document.activeElement && box.contains(document.activeElement) ? name(document.activeElement) : null;
  box.replaceChildren(...children.flat(Infinity).filter(Boolean));
  if (at) [...box.querySelectorAll("a, button, input, select, summary")].find((one) => name(one) === at)?.focus({ preventScroll: true });
}

// -- the hub's API -----------------------------------------------------------------------------------------------------

export class Refused extends Error {
  constructor(status, code, message, details = []) {
    super(message);
    Object.assign(this, { status, code, details });
  }
}

const MEANING = {
  0: "The hub can't be reached. This page tries again by itself.",
  401: "The credential is not valid: it has ended, was revoked, or was mistyped.",
  503: "The hub can't serve this just now. This page tries again by itself.",
};

export function explain(error) {
  if (!(error instanceof Refused)) return String(error);
  const told = error.status === 403 || !(error.status in MEANING) ? error.message : `${MEANING[error.status]} (${error.message})`;
  return [told, ...error.details.map((one) => `${one.field}: ${one.message}`)].filter((one, n, all) => n === 0 || !all[0].includes(one)).join(" · ");
}

// A function that calls the API with one credential: call(method, path, body) gives {data, pagination}.
export function client(credential) {
  return async (method, path, body) => {
    const headers = { Authorization: `Bearer ${credential}` };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (method === "POST") headers["Idempotency-Key"] = crypto.getRandomValues(new Uint32Array(4)).join("-");
    let response;
    let answer = null;
    try {
      response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store" });
      if (response.status !== 204) answer = await response.json();
    } catch (error) {
      throw new Refused(0, "NETWORK", error.message);
    }
    if (response.ok) return answer || {};
    const { code, message, details } = answer.error;
    throw new Refused(response.status, code, message, details || []);
  };
}

// -- showing things ----------------------------------------------------------------------------------------------------

const TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

export function ago(text) {
  if (!text) return "–";
  const seconds = (Date.now() - new Date(text)) / 1000;
  const size = Math.abs(seconds);
  const [number, unit] = size < 90 ? [size, "s"] : size < 5400 ? [size / 60, "min"] : size < 129600 ? [size / 3600, "h"] : [size / 86400, "d"];
  return seconds < 0 ? `in ${Math.round(number)} ${unit}` : `${Math.round(number)} ${unit} ago`;
}

export const when = (text) => make("time", { datetime: text, title: text && TIME.format(new Date(text)) }, ago(text));
export const clock = (text) => make("time", { datetime: text, title: text }, CLOCK.format(new Date(text)));
export const number = (value) => (value === null || value === undefined ? "–" : value.toLocaleString());
export const percent = (share) => (share === null || share === undefined ? "–" : `${(share * 100).toFixed(share > 0.999 && share < 1 ? 2 : 1).replace(/\.0$/, "")} %`);

export const badge = (text, kind = "") => make("span", { class: `badge ${kind}` }, text);
const KINDS = { succeeded: "good", exhausted: "bad", cancelled: "", pending: "warn", running: "warn", completed: "good", failed: "bad" };
export const status = (text) => badge(text, KINDS[text]);

const REASONS = { manual: "paused", failing: "disabled: only failures", gone: "disabled: answered 410", backlog: "disabled: owed too much", handshake: "waits until its target agrees" };
export function standing(endpoint) {
  if (!endpoint.enabled) return badge(REASONS[endpoint.disabled_reason] || "disabled", endpoint.disabled_reason === "manual" ? "" : "bad");
  if (endpoint.breaker !== "closed") return badge(endpoint.breaker === "open" ? "resting after failures" : "trying again", "warn");
  return endpoint.failing_since ? badge("failing", "warn") : badge("enabled", "good");
}

export const chips = (values, none) => (values && values.length ? values.map((one) => make("code", { class: "chip" }, one)) : make("span", { class: "dim" }, none));

export const figure = (name, value, more = null) => make("div", {}, make("dt", {}, name), make("dd", {}, value, more && make("small", {}, ` ${more}`)));

export function table(heads, rows, empty) {
  if (!rows.length) return make("p", { class: "empty" }, empty);
  const head = heads.map((one) => make("th", { scope: "col", class: one.startsWith(">") ? "right" : null }, one.replace(/^>/, "")));
  return make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, head)), make("tbody", {}, rows)));
}

export const cell = (kind, ...children) => make("td", { class: kind || null }, children);

// -- saying and asking -------------------------------------------------------------------------------------------------

// A line at the top of the page: an error stays until something works again, the rest goes by itself.
let leaving = null;
export function say(text, kind = "good") {
  clearTimeout(leaving);
  show("notices", text && make("div", { class: `notice ${kind}`, role: kind === "bad" ? "alert" : "status" }, text));
  if (text && kind === "good") leaving = setTimeout(() => show("notices"), 6000);
}

export function dialog(title, ...content) {
  const box = make("dialog", { "aria-label": title, onclose: () => box.remove() }, make("h2", {}, title), content);
  document.body.append(box);
  box.showModal();
  return box;
}

// Asks before what can't be undone; resolves to whether it is meant.
export function confirm(title, text, verb) {
  return new Promise((resolve) => {
    const done = (answer) => { resolve(answer); box.close(); };
    const box = dialog(title, make("p", {}, text), make("div", { class: "buttons end" },
      make("button", { type: "button", onclick: () => done(false) }, "Keep"),
      make("button", { type: "button", class: "danger", onclick: () => done(true) }, verb)));
    box.addEventListener("close", () => resolve(false));
  });
}

export function button(text, act, kind = null) {
  const element = make("button", { type: "button", class: kind, onclick: () => busy(element, act) }, text);
  return element;
}

// Runs what a button does, once at a time; a refusal is said.
export async function busy(element, act) {
  element.disabled = true;
  try { await act(); } catch (error) { say(explain(error), "bad"); }
  element.disabled = false;
}

// Calls `turn` now and every `seconds`, while the page is to be seen. A failure is told and tried again.
export function every(seconds, turn, failed) {
  let stopped = false;
  let lost = false;
  const run = async () => {
    while (!stopped) {
      try {
        if (!document.hidden) await turn();
        if (lost) { lost = false; failed(null); }
      } catch (error) {
        if (stopped) return;
        lost = true;
        failed(error);
        if (error.status === 401) return;
      }
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    }
  };
  run();
  return () => { stopped = true; };
}

export const words = (text) => text.split(/[\s,]+/).filter(Boolean);

export function field(label, attributes, hint = null) {
  const { tag = "input", value, ...rest } = attributes;
  const input = make(tag, rest);
  if (value !== undefined && value !== null) input.value = value;
  return make("label", {}, label, input, hint && make("small", {}, hint));
}
