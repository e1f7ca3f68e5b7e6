// A step's log as it is written. The stream begins anew when it connects again, and so does the text.

const KEPT_CHARACTERS = 1_000_000;

function followLog(view) {
  const source = new EventSource(view.dataset.log);
  const atEnd = () => view.scrollHeight - view.scrollTop - view.clientHeight < 30;
  let begun = false;
  source.addEventListener("open", () => { begun = false; });
  source.addEventListener("message", (event) => {
    const { text, reset, end } = JSON.parse(event.data);
    const stay = atEnd();
    if (reset || !begun) view.textContent = "";
    begun = true;
    view.append(text);
    if (view.textContent.length > KEPT_CHARACTERS) view.textContent = view.textContent.slice(-KEPT_CHARACTERS / 2);
    if (stay) view.scrollTop = view.scrollHeight;
    if (end) source.close();
  });
}

for (const view of document.querySelectorAll("[data-log]")) {
  view.scrollTop = view.scrollHeight;
  if (view.dataset.follow === "yes") followLog(view);
}
