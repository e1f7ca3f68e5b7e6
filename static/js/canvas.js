// Draws a graph of any size on a canvas: only what is in view, and only as much of it as can be seen at this zoom.

const NODE = { width: 168, height: 36 };
const TEXT_FROM = 0.45; // below this zoom names cannot be read
const EDGES_TO = 6000; // with more edges in view only their places would show, so they are thinned
const COLOURS = {
  text: "--text", muted: "--muted", edge: "--line-strong", group: "--card", waiting: "--line-strong", waitingFill: "--card",
  succeeded: "--good", succeededFill: "--good-soft", cached: "--cached", cachedFill: "--cached-soft",
  failed: "--bad", failedFill: "--bad-soft", running: "--busy", runningFill: "--busy-soft",
  cancelled: "--warn", cancelledFill: "--warn-soft", backoff: "--warn", backoffFill: "--warn-soft",
};

export class GraphCanvas {
  /** `graph` is the REST document; `open(node)` is called for a step that was chosen. */
  constructor(host, graph, open) {
    this.graph = graph;
    this.states = new Map();
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `Graph of ${graph.nodes.length} steps; the table lists them all`);
    host.replaceChildren(this.canvas);
    this.context = this.canvas.getContext("2d");
    this.probe = host.appendChild(document.createElement("span"));
    this.view = { x: 0, y: 0, scale: 1 };
    this.readColours();
    this.listen(open);
    this.shape(host.clientWidth);
    new ResizeObserver(() => this.resize()).observe(this.canvas);
    this.resize();
    this.fit();
  }

  /** As high as the whole graph is at the width of the page, within reason. */
  shape(width) {
    const { layout } = this.graph, wanted = layout.height * Math.min(1, width / layout.width);
    this.canvas.style.height = `${Math.round(Math.min(560, Math.max(260, wanted + 40)))}px`;
  }

  set(node, state) {
    this.states.set(Number(node), state);
    this.draw();
  }

  /** Zooms so that all is seen, but never so small that a step is less than a dot. */
  fit() {
    const { width, height } = this.graph.layout;
    const scale = Math.min(this.width / width, this.height / height, 1);
    this.view.scale = Math.max(scale, 0.02);
    this.view.x = Math.max(0, (this.width - width * this.view.scale) / 2);
    this.view.y = (this.height - height * this.view.scale) / 2;
    this.draw();
  }

  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const scale = Math.min(2.5, Math.max(0.01, this.view.scale * factor));
    const real = scale / this.view.scale;
    this.view = { x: x - (x - this.view.x) * real, y: y - (y - this.view.y) * real, scale };
    this.draw();
  }

  /** One drawing for all changes of a frame. */
  draw() {
    this.frame ??= requestAnimationFrame(() => { this.frame = undefined; this.paint(); });
  }

  paint() {
    const { context, view } = this;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    context.translate(view.x, view.y);
    context.scale(view.scale, view.scale);
    const seen = { left: -view.x / view.scale, top: -view.y / view.scale };
    seen.right = seen.left + this.width / view.scale;
    seen.bottom = seen.top + this.height / view.scale;
    this.paintGroups(seen);
    this.paintEdges(seen);
    this.paintNodes(seen);
  }

  /** Frames around the steps of each workflow inside; the name of an outermost one above its first piece. */
  paintGroups(seen) {
    const { context } = this, named = new Set();
    context.fillStyle = this.colours.group;
    context.strokeStyle = this.colours.edge;
    context.lineWidth = 1;
    for (const [x, y, width, height, group] of this.graph.layout.frames ?? []) {
      const { path } = this.graph.groups[group], first = !named.has(group) && !path.includes("/");
      named.add(group);
      if (x > seen.right || x + width < seen.left || y > seen.bottom || y + height < seen.top) continue;
      context.beginPath();
      context.roundRect(x, y, width, height, 9);
      context.fill();
      context.stroke();
      if (!first || this.view.scale < TEXT_FROM) continue;
      context.fillStyle = this.colours.muted;
      context.font = `600 11px ${getComputedStyle(document.body).fontFamily}`;
      context.textBaseline = "alphabetic";
      context.fillText(path.length > 26 ? `${path.slice(0, 25)}…` : path, x + 2, y - 4);
      context.fillStyle = this.colours.group;
    }
  }

  paintEdges(seen) {
    const { context } = this, { nodes } = this.graph.layout, inView = [];
    for (const edge of this.graph.edges) {
      const [x, y] = nodes[edge[0]], [toX, toY] = nodes[edge[1]];
      if (toX < seen.left || x + NODE.width > seen.right) continue;
      if (Math.max(y, toY) + NODE.height < seen.top || Math.min(y, toY) > seen.bottom) continue;
      inView.push([x + NODE.width, y + NODE.height / 2, toX, toY + NODE.height / 2]);
    }
    const step = Math.max(1, Math.ceil(inView.length / EDGES_TO));
    context.beginPath();
    for (let i = 0; i < inView.length; i += step) {
      const [x, y, toX, toY] = inView[i];
      context.moveTo(x, y);
      if (this.view.scale < TEXT_FROM) context.lineTo(toX, toY);
      else {
        const bend = Math.min(60, (toX - x) / 2);
        context.bezierCurveTo(x + bend, y, toX - bend, toY, toX, toY);
      }
    }
    context.strokeStyle = this.colours.edge;
    context.globalAlpha = this.view.scale < TEXT_FROM ? 0.55 : 0.8;
    context.lineWidth = Math.max(1.2, 0.6 / this.view.scale);
    context.stroke();
    context.globalAlpha = 1;
  }

  paintNodes(seen) {
    const { context } = this, readable = this.view.scale >= TEXT_FROM, byState = new Map();
    for (const node of this.graph.nodes) {
      const [x, y] = this.graph.layout.nodes[node.index];
      if (x > seen.right || x + NODE.width < seen.left || y > seen.bottom || y + NODE.height < seen.top) continue;
      const state = this.states.get(node.index) ?? "waiting";
      if (!byState.has(state)) byState.set(state, []);
      byState.get(state).push([x, y, node]);
    }
    for (const [state, boxes] of byState) {
      context.beginPath();
      for (const [x, y] of boxes) {
        if (readable) context.roundRect(x, y, NODE.width, NODE.height, 7);
        else context.rect(x, y, NODE.width, NODE.height);
      }
      const line = this.colours[state] ?? this.colours.waiting;
      context.fillStyle = readable ? this.colours[`${state}Fill`] ?? this.colours.waitingFill : line;
      context.fill();
      context.strokeStyle = line;
      context.lineWidth = 1.4;
      if (readable) context.stroke();
    }
    if (!readable) return;
    context.font = `600 12.5px ${getComputedStyle(document.body).fontFamily}`;
    context.textBaseline = "middle";
    for (const [state, boxes] of byState) {
      for (const [x, y, node] of boxes) this.paintName(x, y, node, state);
    }
  }

  paintName(x, y, node, state) {
    const { context } = this;
    const sign = { succeeded: "✓", cached: "⚡", failed: "✕", running: "●", cancelled: "⊘", skipped: "»", upstream_failed: "⊘" }[state];
    context.fillStyle = this.colours[state] ?? this.colours.muted;
    if (sign) context.fillText(sign, x + 10, y + NODE.height / 2 + 1);
    context.fillStyle = this.colours.text;
    const name = node.map ? `${node.path} [·]` : node.path;
    context.fillText(name.length > 20 ? `${name.slice(0, 12)}…${name.slice(-7)}` : name, x + (sign ? 28 : 12), y + NODE.height / 2 + 1);
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = (event.clientX - box.left - this.view.x) / this.view.scale;
    const y = (event.clientY - box.top - this.view.y) / this.view.scale;
    return this.graph.nodes.find(({ index }) => {
      const [left, top] = this.graph.layout.nodes[index];
      return x >= left && x <= left + NODE.width && y >= top && y <= top + NODE.height;
    });
  }

  listen(open) {
    const { canvas } = this;
    let drag = null;
    canvas.addEventListener("pointerdown", (event) => {
      drag = { x: event.clientX, y: event.clientY, moved: 0 };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!drag) {
        const node = this.at(event);
        canvas.title = node ? `${node.path}: ${(this.states.get(node.index) ?? "waiting").replaceAll("_", " ")}` : "";
        return;
      }
      this.view.x += event.clientX - drag.x;
      this.view.y += event.clientY - drag.y;
      drag = { x: event.clientX, y: event.clientY, moved: drag.moved + Math.abs(event.movementX) + Math.abs(event.movementY) };
      this.draw();
    });
    canvas.addEventListener("pointerup", (event) => {
      const node = drag && drag.moved < 4 ? this.at(event) : null;
      drag = null;
      if (node && open) open(node);
    });
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // the page scrolls; with Ctrl, or by pinching, the graph zooms
      event.preventDefault();
      const box = canvas.getBoundingClientRect();
      this.zoom(Math.exp(-event.deltaY / 250), event.clientX - box.left, event.clientY - box.top);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("celesta:theme", () => { this.readColours(); this.draw(); });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { this.readColours(); this.draw(); });
  }

  key(event) {
    const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    if (event.key === "+" || event.key === "=") this.zoom(1.3);
    else if (event.key === "-") this.zoom(1 / 1.3);
    else if (event.key === "0") this.fit();
    else if (moves[event.key]) { this.view.x += moves[event.key][0]; this.view.y += moves[event.key][1]; this.draw(); }
    else return;
    event.preventDefault();
  }

  resize() {
    this.ratio = devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = Math.round(this.width * this.ratio);
    this.canvas.height = Math.round(this.height * this.ratio);
    this.draw();
  }

  /** A canvas knows no variables of the style sheet; an element tells what they are in this theme. */
  readColours() {
    this.colours = {};
    for (const [name, variable] of Object.entries(COLOURS)) {
      this.probe.style.color = `var(${variable})`;
      this.colours[name] = getComputedStyle(this.probe).color;
    }
  }
}

/** Puts a canvas into `host`, with buttons into `tools`. */
export async function mount(host, tools, url, open) {
  const response = await fetch(url);
  if (!response.ok) { host.textContent = "The graph cannot be loaded. Load the page again."; return null; }
  const canvas = new GraphCanvas(host, await response.json(), open);
  for (const [label, action] of [["Zoom in", () => canvas.zoom(1.4)], ["Zoom out", () => canvas.zoom(1 / 1.4)], ["Fit", () => canvas.fit()]]) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "small";
    button.textContent = label;
    button.addEventListener("click", action);
    tools.append(button);
  }
  tools.hidden = false;
  return canvas;
}
