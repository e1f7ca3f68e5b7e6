// The words and signs of a state, read from the page's own legend so that server and scripts cannot disagree.

const template = document.createElement("template");

/** A copy of the badge of `state`; the page carries one of each in a hidden list. */
export function badge(state) {
  const found = document.querySelector(`[data-badges] [data-status="${CSS.escape(state)}"]`);
  if (found) return found.cloneNode(true);
  template.innerHTML = "";
  const plain = document.createElement("span");
  plain.className = "status";
  plain.textContent = state.replaceAll("_", " ");
  return plain;
}

/** The path of the sign of `state`, in a box of 12 by 12. */
export function signPath(state) {
  return document.querySelector(`[data-badges] [data-status="${CSS.escape(state)}"] path`)?.getAttribute("d") ?? "";
}
