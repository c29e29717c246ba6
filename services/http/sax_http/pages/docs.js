// Shows /openapi.json as a page: every route, its fields, and a curl line that can be pasted.

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

const EXAMPLES = {
  model: "/sax/test/lm", sax_cell: "/sax/test", model_path: "hf.CausalLM", checkpoint: "/models/lm", replicas: 1,
  query: "The capital of France is", prompt: "The capital of France is",
  messages: [{ role: "user", content: "Why is the sky blue?" }],
};

function schemaOf(operation, document_) {
  const reference = operation.requestBody?.content["application/json"].schema.$ref;
  return reference ? document_.components.schemas[reference.split("/").pop()] : null;
}

function typeOf(field) {
  if (field.$ref) return field.$ref.split("/").pop();
  if (field.anyOf) return field.anyOf.map(typeOf).join(" or ");
  if (field.type === "array") return `list of ${typeOf(field.items ?? {})}`;
  return field.type ?? "any";
}

function fieldList(schema) {
  const list = element("ul");
  for (const [name, field] of Object.entries(schema.properties)) {
    const item = element("li");
    const required = (schema.required ?? []).includes(name) ? ", required" : "";
    item.append(element("code", "", name), ` ${typeOf(field)}${required}`);
    if (field.description) item.append(element("span", "quiet", ` — ${field.description}`));
    list.append(item);
  }
  return list;
}

function curlLine(method, path, schema) {
  const url = location.origin + path;
  if (!schema) return `curl -s ${url}`;
  const body = Object.fromEntries((schema.required ?? []).map((name) => [name, EXAMPLES[name] ?? ""]));
  return `curl -s -X ${method} ${url} -H 'Content-Type: application/json' -d '${JSON.stringify(body)}'`;
}

function routeCard(path, method, operation, document_) {
  const card = element("details", "card");
  const summary = element("summary");
  summary.append(element("span", "method", method), element("code", "", path), ` ${operation.summary}`);
  card.append(summary);
  const schema = schemaOf(operation, document_);
  if (schema) card.append(fieldList(schema));
  card.append(element("pre", "", curlLine(method, path, schema)));
  return card;
}

const document_ = await (await fetch("/openapi.json")).json();
const groups = new Map();
for (const [path, methods] of Object.entries(document_.paths)) {
  for (const [method, operation] of Object.entries(methods)) {
    const group = operation.tags?.[0] ?? "Other";
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push(routeCard(path, method.toUpperCase(), operation, document_));
  }
}
const shown = [element("p", "quiet", `${document_.info.title} ${document_.info.version}`)];
for (const [name, cards] of groups) shown.push(element("h2", "", name), ...cards);
document.getElementById("routes").replaceChildren(...shown);
