// What every page does: local times, running clocks, the theme switch, and parts that follow the server.
import { follow } from "./stream.js";

const SWAP_MS = 300;
const MEASURED_MS = 2000;
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

export function seconds(value) {
  if (value < 10) return `${value.toFixed(2)} s`;
  if (value < 60) return `${value.toFixed(1)} s`;
  const minutes = Math.floor(value / 60);
  if (minutes < 60) return `${minutes} min ${String(Math.floor(value % 60)).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

function ago(moment) {
  const past = (moment - Date.now()) / 1000;
  const [unit, length] = UNITS.find(([, size]) => Math.abs(past) >= size) ?? UNITS.at(-1);
  return Math.abs(past) < 2 * 86400 ? relative.format(Math.round(past / length), unit) : moment.toLocaleString();
}

/** Puts local words into every time and clock below `root`. */
export function tick(root = document) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    time.textContent = ago(moment);
    time.title = moment.toLocaleString();
  }
  for (const clock of root.querySelectorAll("[data-since]")) {
    clock.textContent = seconds(Math.max(0, (Date.now() - new Date(clock.dataset.since)) / 1000));
  }
}

/** Loads this page again and puts its live parts in the place of ours. What a form answered with has no address. */
export async function swap() {
  const address = document.querySelector("[data-page]")?.dataset.page ?? location.href;
  const response = await fetch(address, { headers: { Accept: "text/html" } });
  if (response.redirected) return location.reload(); // the session has ended
  if (!response.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of document.querySelectorAll("[data-swap]")) {
    const next = fresh.getElementById(part.id);
    if (!next || part.contains(document.activeElement) && part.matches(":has(form)")) continue;
    if (next.innerHTML !== part.innerHTML) part.replaceChildren(...next.childNodes);
  }
  tick();
}

function followParts() {
  for (const part of document.querySelectorAll("[data-live]")) {
    let waiting = 0;
    const later = () => { waiting ||= setTimeout(() => { waiting = 0; swap(); }, SWAP_MS); };
    const node = part.dataset.liveNode;
    // What a step measures while it runs is no event.
    const measured = node ? setInterval(() => { if (!document.hidden) later(); }, MEASURED_MS) : 0;
    const end = follow(part.dataset.live, (kind, body) => {
      if (!node || body.node === node || kind === "run.recorded") later();
      if (kind === "run.recorded" || kind === "step.settled" && body.node === node) clearInterval(measured);
      if (kind === "run.recorded" && node) end();
    }, later, later);
  }
}

function themeSwitch() {
  const button = document.querySelector("[data-theme-switch]");
  const root = document.documentElement;
  const dark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const label = () => { button.textContent = dark() ? "Light theme" : "Dark theme"; };
  button.hidden = false;
  label();
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("celesta-theme", root.dataset.theme); } catch { /* then it lasts for this page */ }
    label();
    document.dispatchEvent(new Event("celesta:theme"));
  });
}

for (const form of document.querySelectorAll("[data-autosubmit]")) {
  form.addEventListener("change", (event) => { if (event.target.matches("select")) form.requestSubmit(); });
}
document.addEventListener("click", (event) => {
  for (const open of document.querySelectorAll("details.picker[open]")) {
    if (!open.contains(event.target)) open.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  const open = document.querySelector("details.picker[open]");
  if (event.key === "Escape" && open) { open.open = false; open.querySelector("summary").focus(); }
});
themeSwitch();
tick();
setInterval(tick, 1000);
followParts();
