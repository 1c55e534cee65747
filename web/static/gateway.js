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
