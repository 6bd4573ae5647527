// The API page: reads the OpenAPI document and shows it, grouped by tag.

import { h, inline, prose } from "./dom.js";
import { Schemas } from "./schema.js";
import { tryIt } from "./tryit.js";

const $ = (id) => document.getElementById(id);
const METHODS = ["get", "post", "put", "patch", "delete"];

async function start() {
  const response = await fetch("api/v1/openapi.json");
  if (!response.ok) throw new Error(`the description is not there: ${response.status} ${response.statusText}`);
  const description = await response.json();
  const schemas = new Schemas(description);
  const groups = grouped(description);
  $("title").textContent = description.info.title;
  $("version").textContent = description.info.version;
  $("intro").replaceChildren(h("h1", {}, `${description.info.title} API`), ...prose(description.info.description));
  $("index").replaceChildren(...groups.map(indexOf));
  $("groups").replaceChildren(...groups.map((group) => section(schemas, group)));
  $("schemas").replaceChildren(...schemaList(schemas, description));
  $("filter").addEventListener("input", filter);
  $("token-form").addEventListener("submit", (event) => event.preventDefault());
  $("token").addEventListener("change", whoAmI);
  addEventListener("hashchange", openTarget);
  openTarget();
}

function grouped(description) {
  const groups = new Map((description.tags ?? []).map((tag) => [tag.name, { ...tag, operations: [] }]));
  for (const [path, members] of Object.entries(description.paths)) {
    for (const method of METHODS.filter((each) => members[each])) {
      const operation = members[method];
      const parameters = [...(members.parameters ?? []), ...(operation.parameters ?? [])];
      const order = { path: 0, query: 1, header: 2 };
      parameters.sort((one, other) => order[one.in] - order[other.in]);
      const tag = operation.tags?.[0] ?? "other";
      if (!groups.has(tag)) groups.set(tag, { name: tag, operations: [] });
      groups.get(tag).operations.push({ path, method, operation, parameters });
    }
  }
  return [...groups.values()].filter((group) => group.operations.length);
}

function shortPath(path) {
  return path.replace(/^\/api\/v1/, "");
}

function pathText(path) {
  return shortPath(path).split(/(\{[^}]+\})/).map((part) => (part.startsWith("{") ? h("i", {}, part) : part));
}

function badge(method) {
  return h("span", { class: `method ${method}` }, method.toUpperCase());
}

function indexOf(group) {
  return h("div", { class: "tag" },
    h("a", { class: "tag-name", href: `#tag-${group.name}` }, group.name),
    h("ul", {}, group.operations.map(({ path, method, operation }) =>
      h("li", { "data-words": `${method} ${path} ${operation.summary}`.toLowerCase() },
        h("a", { href: `#${operation.operationId}`, title: operation.summary }, badge(method), h("span", {}, pathText(path)))))));
}

function section(schemas, group) {
  return h("section", { class: "group", id: `tag-${group.name}` },
    h("h2", {}, group.name, h("small", {}, group.description)),
    group.operations.map((each) => card(schemas, each)));
}

function card(schemas, { path, method, operation, parameters }) {
  const open = operation.security?.some((each) => Object.keys(each).length === 0);
  const box = h("details", { class: `operation ${method}`, id: operation.operationId, "data-words": `${method} ${path} ${operation.summary}`.toLowerCase() },
    h("summary", {}, badge(method), h("code", { class: "path" }, pathText(path)), h("span", { class: "summary" }, inline(operation.summary)), open && h("span", { class: "limit" }, "no token needed")));
  box.addEventListener("toggle", () => {
    if (box.open && box.childElementCount === 1) box.append(inside(schemas, path, method, operation, parameters));
  });
  return box;
}

function inside(schemas, path, method, operation, parameters) {
  const body = operation.requestBody?.content?.["application/json"]?.schema;
  return h("div", { class: "inside" },
    h("div", { class: "about-it" },
      prose(operation.description),
      parameters.length > 0 && [h("h3", {}, "Parameters"), parameterList(schemas, parameters)],
      body && [h("h3", {}, "Body ", h("small", {}, schemas.nameOf(body))), schemas.tree(body)],
      h("h3", {}, "Answers"),
      answers(schemas, operation)),
    h("div", { class: "try-it" }, h("h3", {}, "Try it"), tryIt(schemas, method, path, operation, parameters, () => $("token").value.trim())));
}

function parameterList(schemas, parameters) {
  return h("dl", { class: "fields" }, parameters.map((parameter) => {
    const properties = { properties: { [parameter.name]: { ...parameter.schema, description: parameter.description } }, required: parameter.required ? [parameter.name] : [] };
    const [term, about] = schemas.row(parameter.name, properties.properties[parameter.name], properties, 9);
    term.append(h("span", { class: "where" }, parameter.in));
    return [term, about];
  }));
}

function answers(schemas, operation) {
  const found = Object.entries(operation.responses).filter(([status]) => status !== "default");
  return h("div", { class: "answers" }, found.map(([status, item]) => {
    const response = schemas.resolve(item);
    const contents = Object.entries(response.content ?? {});
    const head = [h("b", { class: status < 400 ? "good" : "bad" }, status), " ", response.description];
    const kinds = contents.map(([kind]) => h("span", { class: "limit" }, kind));
    const shown = status < 400 && contents.find(([, content]) => content.schema && schemas.resolve(content.schema).type !== "string");
    const headers = Object.entries(response.headers ?? {});
    if (!shown && !headers.length) return h("p", { class: "answer-line" }, head, kinds);
    return h("details", {}, h("summary", {}, head, kinds),
      headers.length > 0 && h("dl", { class: "fields" }, headers.map(([name, header]) => [h("dt", {}, h("code", {}, name)), h("dd", {}, inline(header.description))])),
      shown && schemas.tree(shown[1].schema));
  }));
}

function schemaList(schemas, description) {
  const names = Object.keys(description.components?.schemas ?? {}).filter((name) => !name.endsWith("Page"));
  return [
    h("h2", {}, "schemas", h("small", {}, "Everything that goes over the wire.")),
    ...names.sort().map((name) => {
      const reference = { $ref: `#/components/schemas/${name}` };
      const box = h("details", { class: "schema", id: `schema-${name}`, "data-words": name.toLowerCase() }, h("summary", {}, h("code", {}, name)));
      box.addEventListener("toggle", () => {
        if (box.open && box.childElementCount === 1) box.append(schemas.tree(reference));
      });
      return box;
    }),
  ];
}

function filter(event) {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const item of document.querySelectorAll("[data-words]")) {
    item.hidden = !words.every((word) => item.dataset.words.includes(word));
  }
  for (const group of document.querySelectorAll(".tag, .group")) {
    group.hidden = !group.querySelector("[data-words]:not([hidden])");
  }
}

function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) target.open = true;
  target?.scrollIntoView();
  for (const link of document.querySelectorAll("#index a")) link.classList.toggle("here", link.hash === location.hash);
}

async function whoAmI(event) {
  const token = event.target.value.trim();
  const who = $("who");
  who.className = "";
  if (!token) {
    who.textContent = "not signed in";
    return;
  }
  const response = await fetch("api/v1/me", { headers: { Authorization: `Bearer ${token}` } });
  const answer = await response.json();
  who.textContent = response.ok ? `${answer.name} (${answer.roles.join(", ")})` : answer.title;
  who.className = response.ok ? "good" : "bad";
  who.title = response.ok ? "" : answer.detail;
}

start().catch((error) => {
  $("groups").replaceChildren(h("p", { class: "bad" }, error.message));
});
