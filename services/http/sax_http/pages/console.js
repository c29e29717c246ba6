// The console: what is published and how it is, and a box to ask it. Text from models is only ever set
// as textContent, so nothing a model says can become a script.

import { events, problem } from "/console/sse.js";

const REFRESH_MS = 3000;
const $ = (id) => document.getElementById(id);

let conversation = [];
let asking = null;

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function badge(model) {
  const kind = model.ready >= model.wanted ? "good" : model.replicas.some((one) => one.status === "FAILED") ? "bad" : "wait";
  return element("span", `badge ${kind}`, `${model.ready} of ${model.wanted} ready`);
}

function replicaLine(replica) {
  const kind = { LOADED: "good", FAILED: "bad" }[replica.status] ?? "wait";
  const line = element("div", "mono");
  line.append(element("span", kind, replica.status), ` ${replica.address}`);
  if (replica.failure) line.append(element("div", "bad", replica.failure));
  if (replica.retry_in_ms > 0) line.append(element("div", "quiet", `next try in ${Math.ceil(replica.retry_in_ms / 1000)} s`));
  return line;
}

function modelCard(model) {
  const card = element("div", "card");
  const name = element("div", "name", model.model + " ");
  name.append(badge(model));
  card.append(name, element("div", "quiet", `${model.model_path} · ${model.checkpoint}`));
  for (const replica of model.replicas) card.append(replicaLine(replica));
  if (model.shortfall) card.append(element("div", "wait", model.shortfall));
  return card;
}

function showCells(cells) {
  const shown = [];
  for (const cell of cells) {
    const head = element("div", "quiet", cell.cell);
    if (cell.problem) head.append(element("div", "bad", cell.problem));
    else if (cell.models.length === 0) head.append(element("div", "", "Nothing is published here yet."));
    shown.push(head, ...cell.models.map(modelCard));
  }
  if (cells.length === 0) shown.push(element("p", "wait", "No cell was found under the root."));
  $("cells").replaceChildren(...shown);
  const names = cells.flatMap((cell) => cell.models.map((model) => model.model));
  const select = $("model");
  if (names.join() !== [...select.options].map((option) => option.value).join()) {
    const chosen = select.value;
    select.replaceChildren(...names.map((name) => new Option(name, name)));
    if (names.includes(chosen)) select.value = chosen;
  }
}

async function refresh() {
  try {
    const response = await fetch("/console/cells.json");
    if (!response.ok) throw new Error(await problem(response));
    showCells(await response.json());
    $("when").textContent = new Date().toLocaleTimeString();
  } catch (error) {
    $("when").textContent = `not refreshed: ${error.message}`;
  }
  if (!document.hidden) setTimeout(refresh, REFRESH_MS);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });

function addTurn(who, text) {
  const turn = element("div", `turn ${who}`);
  const body = element("span", "", text);
  turn.append(element("span", "who", who), body);
  $("turns").append(turn);
  return body;
}

function requestFor(text) {
  const common = {
    model: $("model").value,
    stream: true,
    stream_options: { include_usage: true },
    max_tokens: Number($("max_tokens").value) || 200,
    temperature: Number($("temperature").value) || 0,
  };
  if ($("mode").value === "chat") {
    conversation.push({ role: "user", content: text });
    return ["/v1/chat/completions", { ...common, messages: conversation }];
  }
  return ["/v1/completions", { ...common, prompt: text }];
}

async function ask(text) {
  asking = new AbortController();
  $("send").disabled = true;
  $("stop").disabled = false;
  addTurn("user", text);
  const answer = addTurn("model", "");
  const [path, body] = requestFor(text);
  const started = performance.now();
  let firstMs = 0;
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: asking.signal,
    });
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message);
      const choice = event.choices[0];
      const piece = choice?.delta?.content ?? choice?.text ?? "";
      if (piece && !firstMs) firstMs = performance.now() - started;
      answer.textContent += piece;
      if (event.usage) showSpeed(event.usage, firstMs, performance.now() - started);
    }
    if (path.includes("chat")) conversation.push({ role: "assistant", content: answer.textContent });
  } catch (error) {
    answer.append(element("div", error.name === "AbortError" ? "wait" : "bad", error.name === "AbortError" ? "stopped" : error.message));
    if (path.includes("chat")) conversation = conversation.slice(0, -1);
  } finally {
    asking = null;
    $("send").disabled = false;
    $("stop").disabled = true;
  }
}

function showSpeed(usage, firstMs, allMs) {
  const rest = usage.completion_tokens > 1 ? (1000 * (usage.completion_tokens - 1)) / (allMs - firstMs) : 0;
  $("speed").textContent =
    `${usage.prompt_tokens} + ${usage.completion_tokens} tokens, first after ${firstMs.toFixed(0)} ms` +
    (rest ? `, then ${rest.toFixed(1)} tokens/s` : "");
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value;
  if (asking || !text.trim() || !$("model").value) return;
  $("text").value = "";
  ask(text);
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    $("ask").requestSubmit();
  }
});
$("stop").addEventListener("click", () => asking?.abort());
$("clear").addEventListener("click", () => {
  asking?.abort();
  conversation = [];
  $("turns").replaceChildren();
  $("speed").textContent = "";
});

refresh();
