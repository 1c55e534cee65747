// Small conveniences; every page works without them.

const PAGE = document.documentElement.lang;
// The page's language as the reader's own country writes times.
const LANGUAGE = navigator.languages.find((each) => each.split("-")[0] === PAGE) ?? PAGE;
const FORMS = Object.fromEntries(
  Object.entries({
    full: { dateStyle: "medium", timeStyle: "short" },
    clock: { timeStyle: "short" },
    day: { dateStyle: "medium" },
  }).map(([name, form]) => [name, new Intl.DateTimeFormat(LANGUAGE, form)]),
);

function showLocalTimes(root) {
  const today = new Date().toDateString();
  for (const time of root.querySelectorAll("time[data-ms]")) {
    const at = new Date(Number(time.dataset.ms));
    // data-form: "clock", "near" (the clock today, else the day), or nothing for both.
    const near = at.toDateString() === today ? "clock" : "day";
    const form = time.dataset.form === "near" ? near : time.dataset.form ?? "full";
    time.dateTime = at.toISOString();
    time.title = FORMS.full.format(at);
    time.textContent = FORMS[form].format(at);
  }
}

async function copy(field) {
  field.focus();
  field.select();
  // Browsers hide the clipboard interface from pages that came over plain http.
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(field.value);
      return true;
    } catch {
      // Not allowed here: the old way may be.
    }
  }
  return document.execCommand("copy");
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button || !(await copy(document.getElementById(button.dataset.copy)))) return;
  const label = button.textContent;
  if (label === button.dataset.done) return;
  button.textContent = button.dataset.done;
  setTimeout(() => { button.textContent = label; }, 2000);
});

document.addEventListener("submit", (event) => {
  const button = event.target.querySelector("button:not([type=button])");
  // A form sent twice by an impatient click would do its work twice.
  if (button) setTimeout(() => { button.disabled = true; }, 0);
});

window.addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("form button:disabled")) button.disabled = false;
});

document.addEventListener("htmx:afterSwap", (event) => showLocalTimes(event.target));
showLocalTimes(document);

// A part of the page that is shown anew takes the keyboard's place along: its like gets it back.
const likeness = (each) =>
  JSON.stringify([each.tagName, each.form?.getAttribute("action"), [...each.attributes].map(({ name, value }) => [name, value])]);
let left = null;

function likesIn(root, like) {
  return [...root.querySelectorAll("a, button, input, select, textarea, summary, [tabindex]")].filter(
    (each) => likeness(each) === like,
  );
}

document.addEventListener("htmx:beforeSwap", ({ detail: { target } }) => {
  const at = document.activeElement;
  const like = target !== at && target.contains(at) ? likeness(at) : null;
  left = like && { like, place: likesIn(target, like).indexOf(at) };
});

document.addEventListener("htmx:afterSwap", ({ detail: { target } }) => {
  if (left && document.activeElement === document.body) {
    likesIn(target, left.like)[left.place]?.focus({ preventScroll: true });
  }
  left = null;
});

// A browser opens only six connections to a host over plain HTTP. So a page that nobody sees gives its stream
// back; shown again, it opens another, which begins with a hint to look at everything anew.
class SeenEventSource extends EventTarget {
  #url;
  #names = new Set();
  #source = null;
  #follow = () => (document.hidden ? this.#rest() : this.#open());
  #pass = (event) => this.dispatchEvent(new MessageEvent(event.type, { data: event.data }));

  constructor(url) {
    super();
    this.#url = url;
    this.readyState = EventSource.CONNECTING;
    document.addEventListener("visibilitychange", this.#follow);
    this.#follow();
  }

  addEventListener(name, ...rest) {
    super.addEventListener(name, ...rest);
    this.#names.add(name);
    this.#source?.addEventListener(name, this.#pass);
  }

  close() {
    this.readyState = EventSource.CLOSED;
    document.removeEventListener("visibilitychange", this.#follow);
    this.#source?.close();
  }

  #open() {
    if (this.#source) return;
    this.#source = new EventSource(this.#url, { withCredentials: true });
    for (const name of this.#names) this.#source.addEventListener(name, this.#pass);
    this.#source.onopen = (event) => this.#become(EventSource.OPEN, this.onopen, event);
    this.#source.onerror = (event) => this.#become(this.#source.readyState, this.onerror, event);
  }

  #rest() {
    this.#source?.close();
    this.#source = null;
    this.readyState = EventSource.CONNECTING;
  }

  // Whoever hears that this one is closed makes another.
  #become(state, told, event) {
    if (state === EventSource.CLOSED) this.close();
    this.readyState = state;
    told?.(event);
  }
}

if (window.htmx) htmx.createEventSource = (url) => new SeenEventSource(url);
