// The form that sends a request, and shows what comes back as it comes.

import { h } from "./dom.js";

const STARTERS = {
  submit_create: { name: "hello", script: "#!/bin/sh\necho hello from $(hostname)\n" },
  submit_validate: { name: "hello", script: "#!/bin/sh\necho hello\n" },
  submit_bulk: { jobs: [{ script: "#!/bin/sh\necho 1\n" }, { script: "#!/bin/sh\necho 2\n" }] },
  control_cancel_many: { filter: { active: true } },
  control_signal: { signal: "USR1" },
  tokens_create: { comment: "made in the API page", ttl_s: 3600 },
  users_create: { name: "ann", roles: ["user"] },
  users_update: { locked: false },
};
const MOST_SHOWN = 200_000;

export function tryIt(schemas, method, path, operation, parameters, token) {
  const inputs = parameters.map((parameter) => ({ parameter, input: control(schemas, parameter) }));
  const bodySchema = operation.requestBody?.content?.["application/json"]?.schema;
  const editor = bodySchema && h("textarea", { spellcheck: "false", rows: 8, "aria-label": "Request body" });
  if (editor) {
    editor.value = JSON.stringify(STARTERS[operation.operationId] ?? schemas.example(bodySchema), null, 2);
    editor.rows = Math.min(16, Math.max(4, editor.value.split("\n").length + 1));
  }
  const curl = h("pre", { class: "curl" });
  const answer = h("div", { class: "answer", "aria-live": "polite" });
  const send = h("button", { type: "submit", class: "send" }, "Send");
  const stop = h("button", { type: "button", class: "stop", hidden: true }, "Stop");
  const show = () => { curl.textContent = asCurl(method, address(path, inputs), headersOf(inputs), editor?.value); };
  const form = h("form", { class: "try", oninput: show },
    inputs.length > 0 && h("div", { class: "inputs" }, inputs.map(({ parameter, input }) =>
      h("label", {}, h("span", {}, h("code", {}, parameter.name), parameter.required && h("b", { title: "required" }, " *")), input))),
    editor && h("label", { class: "body" }, h("span", {}, "Body"), editor),
    curl,
    h("div", { class: "buttons" }, send, stop),
    answer);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const control = new AbortController();
    stop.onclick = () => control.abort();
    run({ method, url: address(path, inputs), headers: headersOf(inputs), body: editor?.value, token: token(), signal: control.signal, answer, send, stop });
  });
  show();
  return form;
}

function control(schemas, parameter) {
  const schema = schemas.resolve(parameter.schema);
  const many = schema.type === "array";
  if (schema.type === "boolean") {
    return h("select", {}, ["", "true", "false"].map((word) => h("option", {}, word)));
  }
  const type = schema.type === "integer" || schema.type === "number" ? "number" : "text";
  return h("input", { type, step: schema.type === "number" ? "any" : null, required: parameter.required, placeholder: many ? "one or more, separated by spaces" : (schema.default ?? "") });
}

function address(path, inputs) {
  const query = new URLSearchParams();
  let filled = path;
  for (const { parameter, input } of inputs) {
    const value = input.value.trim();
    if (parameter.in === "path") {
      const encoded = parameter.name === "path" ? value.split("/").map(encodeURIComponent).join("/") : encodeURIComponent(value);
      filled = filled.replace(`{${parameter.name}}`, encoded || `{${parameter.name}}`);
    }
    if (parameter.in === "query" && value) {
      const values = parameter.schema?.type === "array" ? value.split(/\s+/) : [value];
      values.forEach((each) => query.append(parameter.name, each));
    }
  }
  const text = query.toString();
  return new URL(filled.replace(/^\//, "") + (text ? `?${text}` : ""), document.baseURI).href;
}

function headersOf(inputs) {
  return Object.fromEntries(inputs.filter(({ parameter, input }) => parameter.in === "header" && input.value.trim()).map(({ parameter, input }) => [parameter.name, input.value.trim()]));
}

function asCurl(method, url, headers, body) {
  const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const parts = [`curl -X ${method.toUpperCase()} ${quote(url)}`, '-H "Authorization: Bearer $HPCGATE_TOKEN"'];
  for (const [name, value] of Object.entries(headers)) parts.push(`-H ${quote(`${name}: ${value}`)}`);
  if (body !== undefined) parts.push("-H 'Content-Type: application/json'", `-d ${quote(compact(body))}`);
  return parts.join(" \\\n  ");
}

function compact(body) {
  try {
    return JSON.stringify(JSON.parse(body));
  } catch {
    return body;
  }
}

async function run({ method, url, headers, body, token, signal, answer, send, stop }) {
  const all = { ...headers };
  if (token) all.Authorization = `Bearer ${token}`;
  if (body !== undefined) all["Content-Type"] = "application/json";
  send.disabled = true;
  stop.hidden = false;
  const output = h("pre", { class: "output" });
  const status = h("p", { class: "status" }, "sending…");
  answer.replaceChildren(status, output);
  const began = performance.now();
  try {
    const response = await fetch(url, { method: method.toUpperCase(), headers: all, body, signal, cache: "no-store" });
    const took = `${Math.round(performance.now() - began)} ms`;
    status.replaceChildren(h("b", { class: response.ok ? "good" : "bad" }, `${response.status} ${response.statusText}`), ` after ${took}`, details(response));
    await show(response, output);
  } catch (error) {
    if (error.name === "AbortError") status.append(" · stopped");
    else status.replaceChildren(h("b", { class: "bad" }, "no answer"), ` ${error.message}`);
  } finally {
    send.disabled = false;
    stop.hidden = true;
  }
}

function details(response) {
  const lines = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
  return h("details", {}, h("summary", {}, "headers"), h("pre", {}, lines));
}

async function show(response, output) {
  const kind = response.headers.get("content-type") ?? "";
  if (kind.includes("json")) {
    const text = await response.text();
    output.textContent = cut(pretty(text));
    return;
  }
  if (kind.startsWith("application/octet-stream")) {
    output.textContent = `${(await response.blob()).size} bytes`;
    return;
  }
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    output.textContent = cut(output.textContent + part.value, true);
    output.scrollTop = output.scrollHeight;
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function cut(text, fromStart = false) {
  if (text.length <= MOST_SHOWN) return text;
  return fromStart ? `…${text.slice(-MOST_SHOWN)}` : `${text.slice(0, MOST_SHOWN)}\n… ${text.length - MOST_SHOWN} characters more`;
}
