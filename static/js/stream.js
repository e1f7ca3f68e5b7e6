// One event stream, kept only while the page is seen: browsers allow six connections to a server over all tabs.

const KINDS = ["run.started", "step.running", "step.settled", "step.retry", "map.opened", "dynamic.opened", "run.finished", "run.recorded"];
const REFUSED_MS = 5000;

/**
 * Follows `url` and calls `heard(kind, body)` for each event. When the server has no place for another follower,
 * `missed()` is called now and then instead, so that the page can ask the ordinary way. `opened()` is called when the
 * stream begins anew: what happened since the page was made, it does not tell. Returns a function that ends it.
 */
export function follow(url, heard, missed = () => {}, opened = () => {}, kinds = KINDS) {
  let source = null, timer = 0, ended = false, lastId = "";

  function open() {
    if (ended || source || document.hidden) return;
    const resumed = lastId ? `${url}${url.includes("?") ? "&" : "?"}after=${encodeURIComponent(lastId)}` : url;
    source = new EventSource(resumed);
    const take = (event) => {
      lastId = event.lastEventId || lastId;
      heard(event.type, JSON.parse(event.data));
    };
    source.addEventListener("open", () => { if (!lastId) opened(); });
    for (const kind of [...kinds, "message"]) source.addEventListener(kind, take);
    source.addEventListener("error", () => {
      if (source && source.readyState === EventSource.CLOSED) {
        close();
        missed();
        timer = setTimeout(open, REFUSED_MS);
      }
    });
  }

  function close() {
    clearTimeout(timer);
    if (source) source.close();
    source = null;
  }

  function seen() {
    if (document.hidden) close();
    else open();
  }

  document.addEventListener("visibilitychange", seen);
  open();
  return () => {
    ended = true;
    document.removeEventListener("visibilitychange", seen);
    close();
  };
}
