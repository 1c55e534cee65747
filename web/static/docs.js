// A button on every piece of code that copies it; without a script the code is there to be selected.

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

// On wide screens the list of pages stands open beside the text.
const pages = document.querySelector(".docs-pages details");
const wide = matchMedia("(min-width: 46rem)");
const unfold = () => { pages.open = wide.matches; };
wide.addEventListener("change", unfold);
unfold();
