// A button on every piece of code that copies it, and tabs for samples in several languages.
// Without a script the code is there to be selected, one language after the other.

async function copyText(text) {
  // Browsers hide the clipboard interface from pages that came over plain http.
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // Not allowed here: the old way may be.
    }
  }
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "out-of-sight";
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}

const article = document.querySelector(".docs-text");
for (const block of article.querySelectorAll("pre")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = article.dataset.copy;
  button.addEventListener("click", async () => {
    if (!(await copyText(block.querySelector("code").textContent))) return;
    button.textContent = article.dataset.done;
    setTimeout(() => { button.textContent = article.dataset.copy; }, 2000);
  });
  const frame = document.createElement("div");
  frame.className = "code-block";
  block.replaceWith(frame);
  frame.append(block, button);
}

const KEPT = "docs.sample";
const groups = [...article.querySelectorAll(".samples")].map(tabbed).filter(Boolean);

function tabbed(group) {
  const samples = [...group.querySelectorAll(".sample")];
  if (samples.length < 2) return null;
  const list = document.createElement("div");
  list.className = "sample-tabs";
  list.setAttribute("role", "tablist");
  list.setAttribute("aria-label", article.dataset.languages);
  const tabs = samples.map((sample) => {
    const tab = document.createElement("button");
    tab.type = "button";
    tab.textContent = sample.dataset.name;
    tab.setAttribute("role", "tab");
    tab.addEventListener("click", () => choose(sample.dataset.name, tab));
    sample.setAttribute("role", "tabpanel");
    sample.setAttribute("aria-label", sample.dataset.name);
    list.append(tab);
    return tab;
  });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    next.focus();
    next.click();
  });
  group.classList.add("samples-tabbed");
  group.prepend(list);
  return { samples, tabs };
}

function select({ samples, tabs }, name) {
  samples.forEach((sample, index) => {
    const chosen = sample.dataset.name === name;
    sample.hidden = !chosen;
    tabs[index].setAttribute("aria-selected", String(chosen));
    tabs[index].tabIndex = chosen ? 0 : -1;
  });
}

// A group without that language goes on showing what it shows.
function show(name) {
  for (const group of groups) {
    if (group.samples.some((sample) => sample.dataset.name === name)) select(group, name);
  }
}

// Every group of the page follows, and what was pressed stays where it is on the screen.
function choose(name, tab) {
  const before = tab.getBoundingClientRect().top;
  show(name);
  scrollBy({ top: tab.getBoundingClientRect().top - before, behavior: "instant" });
  try {
    localStorage.setItem(KEPT, name);
  } catch {
    // No memory allowed: the choice holds for this page.
  }
}

function kept() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null;
  }
}

for (const group of groups) select(group, group.samples[0].dataset.name);
show(kept());

// On wide screens the list of pages stands open beside the text.
const pages = document.querySelector(".docs-pages details");
const wide = matchMedia("(min-width: 46rem)");
const unfold = () => { pages.open = wide.matches; };
wide.addEventListener("change", unfold);
unfold();
