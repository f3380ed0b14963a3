// The description of the API, from openapi.json of this server.

import { element } from "./cards.js";

const SUCCESS = "200";

function table(head, rows) {
  const line = (cells, name) => element("tr", {}, ...cells.map((cell) => element(name, {}, cell)));
  return element("table", {}, line(head, "th"), ...rows.map((row) => line(row, "td")));
}

function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.type === "array") return `list of ${typeOf(schema.items || {})}`;
  if (schema.additionalProperties?.type || schema.additionalProperties?.$ref) {
    return `${typeOf(schema.additionalProperties)} by key`;
  }
  return schema.type || "any value";
}

function limits(schema) {
  const parts = [];
  if (schema.minimum !== undefined) parts.push(`at least ${schema.minimum}`);
  if (schema.maximum !== undefined) parts.push(`at most ${schema.maximum}`);
  const isPlain = ["number", "string", "boolean"].includes(typeof schema.default);
  if (isPlain && schema.default !== "") parts.push(`default ${schema.default}`);
  return parts.length ? ` (${parts.join(", ")})` : "";
}

// A table per model, and of the models in it.
function models(reference, all, seen = new Set()) {
  const name = reference?.split("/").pop();
  if (!name || !all[name] || seen.has(name)) return [];
  seen.add(name);
  const fields = Object.entries(all[name].properties || {});
  const rows = fields.map(([key, schema]) => [
    element("code", {}, key),
    typeOf(schema),
    (schema.description || "") + limits(schema),
  ]);
  const inner = fields.flatMap(([, schema]) =>
    [schema, schema.items, ...(schema.anyOf || []), ...(schema.anyOf || []).map((s) => s.items)]
      .filter((one) => one?.$ref)
      .flatMap((one) => models(one.$ref, all, seen)),
  );
  return [element("h3", {}, name), table(["field", "type", ""], rows), ...inner];
}

function operation(path, method, content, all) {
  const box = element(
    "article",
    {},
    element("h2", {}, element("span", { class: "method" }, method.toUpperCase()), " ", path),
    element("p", {}, content.description || content.summary || ""),
  );
  const parameters = (content.parameters || []).map((one) => [
    element("code", {}, one.name),
    typeOf(one.schema),
    (one.description || "") + limits(one.schema),
  ]);
  if (parameters.length) box.append(table(["parameter", "type", ""], parameters));
  const sent = content.requestBody?.content["application/json"].schema.$ref;
  const got = content.responses[SUCCESS]?.content?.["application/json"]?.schema?.$ref;
  for (const [title, reference] of [["Body", sent], ["Answer", got]]) {
    if (!reference) continue;
    const example = all[reference.split("/").pop()].examples?.[0];
    const details = element("details", {}, element("summary", {}, title));
    if (example) details.append(element("pre", {}, JSON.stringify(example, null, 2)));
    details.append(...models(reference, all));
    if (title === "Body") details.open = true;
    box.append(details);
  }
  const errors = Object.entries(content.responses).filter(([status]) => status !== SUCCESS);
  const rows = errors.map(([status, { description }]) => [status, description]);
  box.append(element("details", {}, element("summary", {}, "Errors"), table(["", ""], rows)));
  return box;
}

async function start() {
  const answer = await fetch("openapi.json");
  const { info, paths, components } = await answer.json();
  document.getElementById("about").textContent = `${info.title} ${info.version}`;
  const boxes = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, content]) =>
      operation(path, method, content, components.schemas),
    ),
  );
  document.getElementById("operations").append(element("p", {}, info.description), ...boxes);
}

start().catch((error) => {
  document.getElementById("about").textContent = error.message;
});
