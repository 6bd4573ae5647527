// JSON schemas as trees for people, and as examples for the request editor.

import { h, inline } from "./dom.js";

export class Schemas {
  constructor(document) {
    this.components = document.components ?? {};
  }

  resolve(item) {
    let found = item ?? {};
    for (let step = 0; found.$ref && step < 8; step += 1) {
      found = found.$ref.replace(/^#\/components\//, "").split("/").reduce((here, key) => here?.[key], this.components);
      found = found ?? {};
    }
    if (found.allOf?.length === 1) return { ...this.resolve(found.allOf[0]), ...without(found, "allOf") };
    return found;
  }

  nameOf(item) {
    const reference = item?.$ref ?? (item?.allOf?.length === 1 ? item.allOf[0].$ref : undefined);
    return reference?.startsWith("#/components/schemas/") ? reference.split("/").pop() : null;
  }

  typeOf(item) {
    const name = this.nameOf(item);
    if (name) return name;
    const schema = this.resolve(item);
    if (schema.type === "array") return `list of ${this.typeOf(schema.items)}`;
    if (schema.type === "object" && schema.additionalProperties?.type) return `object of ${schema.additionalProperties.type}`;
    return [schema.type ?? "any", schema.format].filter(Boolean).join(" · ");
  }

  // The fields of an object, one row each; nested ones fold out.
  tree(item, depth = 0) {
    const schema = this.resolve(item);
    if (schema.type === "array") return this.tree(schema.items, depth);
    const fields = Object.entries(schema.properties ?? {});
    if (!fields.length) return h("p", { class: "quiet" }, this.typeOf(item));
    return h("dl", { class: "fields" }, fields.map(([name, field]) => this.row(name, field, schema, depth)));
  }

  row(name, field, parent, depth) {
    const schema = this.resolve(field);
    const inner = this.resolve(schema.type === "array" ? schema.items : field);
    const folds = Boolean(inner.properties) && depth < 4;
    return [
      h("dt", {}, h("code", {}, name), (parent.required ?? []).includes(name) && h("span", { class: "required" }, "required")),
      h("dd", {},
        h("span", { class: "type" }, this.typeOf(field), schema.nullable && " or null", limits(schema)),
        schema.description && h("span", { class: "about" }, inline(schema.description)),
        words(inner),
        folds && h("details", { ontoggle: fillOnce(() => this.tree(field, depth + 1)) }, h("summary", {}, `fields of ${this.nameOf(field) ?? this.nameOf(schema.items) ?? name}`))),
    ];
  }

  example(item, depth = 0) {
    const schema = this.resolve(item);
    if (schema.example !== undefined) return schema.example;
    if (schema.default !== undefined) return schema.default;
    if (schema.enum) return schema.enum.find((word) => word !== null);
    if (schema.type === "object" || schema.properties) {
      if (depth > 2) return {};
      const required = Object.entries(schema.properties ?? {}).filter(([name]) => (schema.required ?? []).includes(name));
      return Object.fromEntries(required.map(([name, field]) => [name, this.example(field, depth + 1)]));
    }
    if (schema.type === "array") return [];
    return { integer: 0, number: 0, boolean: false }[schema.type] ?? "";
  }
}

function fillOnce(build) {
  return (event) => {
    const box = event.currentTarget;
    if (box.open && box.childElementCount === 1) box.append(build());
  };
}

function limits(schema) {
  const parts = [];
  if (schema.minimum !== undefined || schema.maximum !== undefined) {
    const most = schema.maximum >= Number.MAX_SAFE_INTEGER ? undefined : schema.maximum;
    parts.push(`${schema.minimum ?? ""} – ${most ?? ""}`.trim());
  }
  if (schema.maxLength !== undefined) parts.push(`at most ${schema.maxLength} characters`);
  if (schema.default !== undefined && schema.default !== null && JSON.stringify(schema.default) !== "[]") {
    parts.push(`default ${JSON.stringify(schema.default)}`);
  }
  return parts.map((part) => h("span", { class: "limit" }, part));
}

function words(schema) {
  const found = (schema.enum ?? []).filter((word) => word !== null);
  return found.length > 0 && h("span", { class: "words" }, found.map((word) => h("code", {}, String(word))));
}

function without(object, key) {
  return Object.fromEntries(Object.entries(object).filter(([name]) => name !== key));
}
