// A run while it works: colours of the graph, counts, rows of the table, and the whole page once it has ended.
import { mount } from "./canvas.js";
import { swap } from "./page.js";
import { badge, signPath } from "./signs.js";
import { follow } from "./stream.js";

const PAINT_MS = 250; // four updates a second, however fast the steps end
const SETTLED = new Set(["succeeded", "failed", "cached", "skipped", "upstream_failed", "cancelled"]);
const PARTS = ["succeeded", "cached", "failed", "skipped", "cancelled", "running"];
const root = document.querySelector("[data-run-page]");
const states = new Map(); // node -> state
const widths = new Map(); // mapped step -> items
const changed = new Map(); // node -> the event that changed it, not yet shown
let canvas = null, timer = 0, opened = false;

function index(node) { return node.split(".")[0]; }

function hear(kind, body) {
  if (kind === "run.recorded") { end(); return; }
  if (kind === "run.started") root.dataset.known = body.known;
  if (kind === "map.opened") { widths.set(body.node, body.width); opened = true; }
  if (kind === "map.opened" || kind === "dynamic.opened" || kind === "step.running") remember(body, "running");
  if (kind === "step.retry") remember(body, "backoff");
  if (kind === "step.parked") { remember(body, "parked"); opened = true; }
  if (kind === "step.settled") remember(body, body.state);
  timer ||= setTimeout(paint, PAINT_MS);
}

function remember(body, state) {
  if (SETTLED.has(states.get(body.node)) && !SETTLED.has(state)) return; // told again, out of order
  states.set(body.node, state);
  changed.set(body.node, { ...body, state });
}

function paint() {
  timer = 0;
  for (const [node, event] of changed) {
    paintNode(node, event.state);
    paintRow(node, event);
  }
  for (const node of new Set([...changed.keys()].map(index))) if (widths.has(node)) paintItems(node);
  changed.clear();
  paintReasons();
  paintCounts();
  if (opened) { opened = false; swap(); }
}

function paintNode(node, state) {
  if (/[./]/.test(node)) return; // an item, or a step of a plan that was opened
  if (canvas) canvas.set(node, state);
  const box = document.querySelector(`[data-dag] [data-node="${node}"]`);
  if (!box || box.dataset.state === state) return;
  box.dataset.state = state;
  const words = state.replaceAll("_", " ");
  box.setAttribute("aria-label", `${box.getAttribute("aria-label").split(":")[0]}: ${words}`);
  box.querySelector(".mark path")?.setAttribute("d", signPath(state));
}

function paintItems(node) {
  const note = document.querySelector(`[data-items="${node}"]`);
  if (!note) return;
  let done = 0, failed = 0;
  for (const [item, state] of states) {
    if (!item.startsWith(`${node}.`) || item.includes("/")) continue;
    if (SETTLED.has(state)) done += 1;
    if (state === "failed") failed += 1;
  }
  note.textContent = `${done} of ${widths.get(node)} items${failed ? `, ${failed} failed` : ""}`;
}

function paintRow(node, event) {
  const row = document.querySelector(`#steps tr[data-node="${node}"]`);
  if (!row) return;
  const cell = row.querySelector("[data-cell=state]");
  if (cell.querySelector("[data-status]")?.dataset.status !== event.state) cell.replaceChildren(badge(event.state)); // else its reason stays
  if (event.attempt) row.querySelector("[data-cell=attempt]").textContent = event.attempt;
  const took = row.querySelector("[data-cell=took]");
  const { started_ms: started, finished_ms: finished } = event.outcome?.timings ?? {};
  if (event.state === "running") {
    const clock = document.createElement("span");
    clock.dataset.since = new Date(event.at_ms).toISOString();
    took.replaceChildren(clock);
  } else if (started && finished) took.textContent = `${((finished - started) / 1000).toFixed(2)} s`;
}

/** A step that stood still goes on once a step below it is at work: why it did is not so any more. */
function paintReasons() {
  for (const reason of document.querySelectorAll("#steps [data-stands-still]")) {
    const { node } = reason.closest("tr").dataset;
    const isBelow = ([other, state]) => state === "running" && (other.startsWith(`${node}.`) || other.startsWith(`${node}/`));
    if ([...states].some(isBelow)) reason.remove();
  }
}

function paintCounts() {
  const counts = Object.fromEntries(PARTS.map((name) => [name, 0]));
  let seen = 0;
  for (const [node, state] of states) {
    if (widths.has(node)) continue;
    seen += 1;
    const name = state === "upstream_failed" ? "skipped" : state;
    if (name in counts) counts[name] += 1;
  }
  const total = Math.max(Number(root.dataset.known ?? 0), Number(root.querySelector("[data-count=total]").textContent), seen);
  root.querySelector("[data-count=total]").textContent = total;
  let x = 0;
  for (const name of PARTS) {
    root.querySelector(`[data-count=${name}]`).textContent = counts[name];
    const part = root.querySelector(`[data-part=${name}]`), width = 1000 * counts[name] / Math.max(total, 1);
    part.setAttribute("x", x);
    part.setAttribute("width", width);
    x += width;
  }
  const status = document.querySelector("[data-run-status]");
  if (seen && status.querySelector("[data-status=queued]")) status.replaceChildren(badge("running"));
}

/** The record is whole: the page as the server makes it has it all. */
async function end() {
  stop();
  clearTimeout(timer);
  for (const [node, event] of changed) paintNode(node, event.state);
  await swap();
}

async function drawLarge() {
  const host = document.querySelector("[data-canvas]");
  if (!host) return;
  const words = new Map(host.dataset.letters.split(" ").map((pair) => pair.split("=")));
  canvas = await mount(host, document.querySelector("[data-dag-tools]"), root.dataset.graph, (node) => {
    location.href = root.dataset.steps + node.index;
  });
  [...host.dataset.states].forEach((letter, node) => canvas?.set(node, words.get(letter)));
  for (const [node, state] of states) if (!node.includes(".")) canvas?.set(node, state);
}

let stop = () => {};
if (root.dataset.ended !== "yes") stop = follow(root.dataset.events, hear, swap);
drawLarge();
