// Shows /openapi.json and sends requests to this hub. No library, nothing from elsewhere.
"use strict";

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

// Text as it is, in a box that may scroll: so that keys can scroll it too, it can be gone to.
const block = (text) => make("pre", { tabindex: "0" }, text);

// Text with `code` in it; everything else stays text.
function rich(text) {
  const parts = (text || "").split(/`([^`]+)`/);
  return make("span", {}, ...parts.map((part, index) => (index % 2 ? make("code", {}, part) : part)));
}

function resolve(document_, part) {
  while (part && part.$ref) {
    part = part.$ref.slice(2).split("/").reduce((node, name) => node[name], document_);
  }
  return part || {};
}

// A schema in short: what one would write down by hand.
function outline(document_, schema, depth = 0) {
  const found = resolve(document_, schema);
  if (found.const !== undefined) return JSON.stringify(found.const);
  if (found.enum) return found.enum.map((one) => JSON.stringify(one)).join(" | ");
  const several = found.anyOf || found.oneOf;
  if (several) return several.map((one) => outline(document_, one, depth)).join(" | ");
  if (found.allOf) return found.allOf.map((one) => outline(document_, one, depth)).join(" & ");
  if (found.type === "array") return `[${outline(document_, found.items || {}, depth)}]`;
  if (!found.properties) return found.type || "any";
  if (depth > 4) return "{…}";
  const indent = "  ".repeat(depth + 1);
  const required = new Set(found.required || []);
  const lines = Object.entries(found.properties).map(
    ([name, part]) => `${indent}${name}${required.has(name) ? "" : "?"}: ${outline(document_, part, depth + 1)}`,
  );
  return `{\n${lines.join(",\n")}\n${"  ".repeat(depth)}}`;
}

function parameters(document_, operation) {
  const found = (operation.parameters || []).map((one) => resolve(document_, one));
  if (!found.length) return null;
  const rows = found.map((one) =>
    make("tr", {},
      make("td", {}, make("code", {}, one.name), one.required ? " *" : ""),
      make("td", { class: "dim" }, one.in),
      make("td", {}, outline(document_, one.schema)),
      make("td", {}, rich(one.description)),
      make("td", {}, one.in === "header" ? "" : make("input", { "data-in": one.in, "data-name": one.name, "aria-label": one.name })),
    ));
  return make("div", {}, make("h3", {}, "Parameters"), make("table", {}, ...rows));
}

function request(document_, operation) {
  if (!operation.requestBody) return null;
  const [media, content] = Object.entries(operation.requestBody.content)[0];
  const example = content.example === undefined ? "" : JSON.stringify(content.example, null, 2);
  return make("div", {},
    make("h3", {}, "Body: ", make("code", {}, media)),
    block(outline(document_, content.schema || {})),
    make("textarea", { "data-media": media, "aria-label": "Body" }, example));
}

function answers(document_, operation) {
  const rows = Object.entries(operation.responses).map(([status, given]) => {
    const one = resolve(document_, given);
    const content = one.content && Object.values(one.content)[0];
    const shown = Number(status) < 300 && content ? block(outline(document_, content.schema || {})) : null;
    const told = one.description.split("\n").map((line) => make("div", {}, link(line)));
    return make("tr", {}, make("td", {}, status), make("td", {}, ...told, shown));
  });
  return make("div", {}, make("h3", {}, "Answers"), make("table", {}, ...rows));
}

// "- [`CODE`](/docs/errors/CODE): …" with its link.
function link(line) {
  const found = /^- \[`([A-Z_]+)`\]\((\/docs\/errors\/[A-Z_]+)\)(.*)$/.exec(line);
  if (!found) return rich(line);
  return make("span", {}, make("a", { href: found[2] }, make("code", {}, found[1])), rich(found[3]));
}

async function send(method, path, box) {
  const query = new URLSearchParams();
  let url = path;
  for (const input of box.querySelectorAll("input[data-name]")) {
    if (input.dataset.in === "path") url = url.replace(`{${input.dataset.name}}`, encodeURIComponent(input.value));
    else if (input.value) query.append(input.dataset.name, input.value);
  }
  const headers = {};
  const key = document.getElementById("key").value;
  if (key) headers.Authorization = `Bearer ${key}`;
  const area = box.querySelector("textarea");
  if (area && area.value) headers["Content-Type"] = area.dataset.media;
  const output = box.querySelector("output");
  output.replaceChildren("…");
  try {
    const response = await fetch(url + (query.size ? `?${query}` : ""), { method, headers, body: (area && area.value) || undefined });
    const text = await response.text();
    let shown = text;
    try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: as it is */ }
    output.replaceChildren(
      make("p", { class: response.ok ? "ok" : "error" }, `${response.status} ${response.statusText}`),
      block(shown));
  } catch (error) {
    output.replaceChildren(make("p", { class: "error" }, String(error)));
  }
}

function show(document_, path, method, operation) {
  const box = make("div", {});
  const summary = make("summary", {},
    make("span", { class: "method" }, method.toUpperCase()), make("code", {}, path), make("span", { class: "dim" }, operation.summary));
  const details = make("details", { id: operation.operationId, "data-text": `${method} ${path} ${operation.summary}`.toLowerCase() }, summary, box);
  details.addEventListener("toggle", () => {
    if (!details.open || box.childNodes.length) return;
    const told = operation.description.split("\n\n").map((part) => make("p", {}, rich(part)));
    const isStream = path === "/v1/stream" || path === "/v1/ws" || !path.startsWith("/");
    const tryIt = isStream ? null : make("button", { type: "button", onclick: () => send(method.toUpperCase(), path, box) }, "Send");
    box.append(...[...told, parameters(document_, operation), request(document_, operation), tryIt, make("output"), answers(document_, operation)]
      .filter((part) => part !== null));
  });
  return details;
}

async function main() {
  const document_ = await (await fetch("/openapi.json")).json();
  document.getElementById("about").replaceChildren(`Version ${document_.info.version}. `, rich(document_.info.summary));
  const groups = new Map();
  const all = [
    ...Object.entries(document_.paths).map((one) => [...one, null]),
    ...Object.entries(document_.webhooks).map((one) => [...one, "webhooks"]),
  ];
  for (const [path, methods, group] of all) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = group || operation.tags[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(show(document_, path, method, operation));
    }
  }
  const root = document.getElementById("operations");
  for (const [tag, found] of groups) root.append(make("section", {}, make("h2", {}, tag), ...found));
  document.getElementById("find").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const details of root.querySelectorAll("details")) details.hidden = !details.dataset.text.includes(wanted);
    for (const section of root.querySelectorAll("section")) section.hidden = !section.querySelector("details:not([hidden])");
  });
  const wanted = location.hash && document.getElementById(location.hash.slice(1));
  if (wanted) wanted.open = true;
}

main().catch((error) => document.getElementById("about").replaceChildren(make("span", { class: "error" }, String(error))));
