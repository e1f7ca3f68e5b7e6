// The reference of the REST interface, made from its OpenAPI document.

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function resolve(schema, components) {
  return schema?.$ref ? components[schema.$ref.split("/").pop()] ?? {} : schema ?? {};
}

/** A schema as one line of types: `{workflow: string, options?: {...}}`. */
function outline(schema, components, depth = 0) {
  const found = resolve(schema, components);
  const type = [found.type ?? "any"].flat().filter((each) => each !== "null").join(" | ");
  if (type === "array") return `[${outline(found.items, components, depth)}]`;
  if (type !== "object" || !found.properties) return found.enum ? found.enum.join(" | ") : type;
  if (depth > 1) return "{…}";
  const pad = "  ".repeat(depth + 1), needed = new Set(found.required ?? []);
  const lines = Object.entries(found.properties).map(([name, inner]) => {
    const note = resolve(inner, components).description;
    return `${pad}${name}${needed.has(name) || !needed.size ? "" : "?"}: ${outline(inner, components, depth + 1)}${note ? `   # ${note}` : ""}`;
  });
  return `{\n${lines.join("\n")}\n${"  ".repeat(depth)}}`;
}

function parameters(list, components) {
  const table = element("table"), body = element("tbody");
  for (const each of list.map((parameter) => resolve(parameter, components))) {
    const row = element("tr");
    row.append(element("th", each.name), element("td", `${each.in}, ${outline(each.schema, components)}`), element("td", each.schema?.description ?? each.description ?? ""));
    body.append(row);
  }
  table.append(body);
  return table;
}

function operation(method, path, document_) {
  const { components, found } = document_;
  const box = element("details", "", "endpoint"), summary = element("summary"), body = element("div", "", "body stack");
  summary.append(element("span", method.toUpperCase(), "verb"), element("code", path), element("span", (found.summary ?? "").replaceAll("`", ""), "muted"));
  if (found.parameters?.length) body.append(parameters(found.parameters, components));
  const taken = Object.values(found.requestBody?.content ?? {})[0]?.schema;
  if (taken) body.append(element("h3", "Body"), element("pre", outline(taken, components)));
  for (const [status, answer] of Object.entries(found.responses ?? {})) {
    if (status === "default") continue;
    const [type, content] = Object.entries(answer.content ?? {})[0] ?? ["", {}];
    body.append(element("h3", `Answer ${status} ${type}`));
    if (type === "application/json") body.append(element("pre", outline(content.schema, components)));
  }
  box.append(summary, body);
  return box;
}

async function show(host) {
  const api = await (await fetch(host.dataset.reference)).json();
  const components = api.components?.schemas ?? {}, groups = new Map();
  for (const [path, operations] of Object.entries(api.paths)) {
    const shared = operations.parameters ?? [];
    for (const [method, each] of Object.entries(operations)) {
      if (method === "parameters") continue;
      const found = { ...each, parameters: [...shared, ...(each.parameters ?? [])] };
      const tag = found.tags?.[0] ?? "other";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operation(method, path, { components, found }));
    }
  }
  const about = Object.fromEntries((api.tags ?? []).map((tag) => [tag.name, tag.description]));
  for (const [tag, boxes] of groups) {
    const card = element("section", "", "card"), head = element("header");
    head.append(element("h2", tag), element("span", about[tag] ?? "", "muted small"));
    card.append(head, ...boxes);
    host.append(card);
  }
}

show(document.querySelector("[data-reference]"));
