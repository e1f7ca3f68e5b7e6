// A workflow's graph when it is too large for a static drawing.
import { mount } from "./canvas.js";

const host = document.querySelector("[data-canvas]");
if (host) mount(host, document.querySelector("[data-dag-tools]"), host.dataset.graph, null);
