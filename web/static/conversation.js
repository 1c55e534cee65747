// Conversations: new messages appear without moving what is read; every page works without this.

const NEAR_END_PX = 60;

function pane() {
  return document.querySelector("[data-pane]");
}

function atEnd() {
  // The pane lies upside down: its end is at 0.
  return Math.abs(pane().scrollTop) < NEAR_END_PX;
}

function toEnd() {
  pane().scrollTop = 0;
  document.querySelector("[data-to-end]").hidden = true;
}

function nameDays() {
  const list = document.querySelector(".bubbles");
  if (!list) return;
  const format = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "full" });
  for (const day of list.querySelectorAll(".day")) day.remove();
  let last = "";
  for (const bubble of list.querySelectorAll(".bubble")) {
    const name = format.format(new Date(Number(bubble.dataset.at)));
    if (name !== last) {
      const day = document.createElement("li");
      day.className = "day";
      day.textContent = last = name;
      bubble.before(day);
    }
  }
}

// What was read stays in place: the topmost bubble that is seen keeps its distance from the top.
function keepingPlace(change) {
  const view = pane();
  if (!view || atEnd()) return change();
  const top = view.getBoundingClientRect().top;
  const fixed = [...view.querySelectorAll(".bubble")].find((b) => b.getBoundingClientRect().bottom > top);
  const before = fixed?.getBoundingClientRect().top ?? 0;
  change();
  if (fixed?.isConnected) view.scrollTop += fixed.getBoundingClientRect().top - before;
}

function showNews(fresh) {
  const news = fresh.filter((bubble) => bubble.classList.contains("bubble"));
  if (!news.length) return;
  if (news.some((bubble) => bubble.classList.contains("theirs"))) {
    const status = document.querySelector("[data-news]");
    status.textContent = "";
    status.textContent = status.dataset.one;
  }
}

// The feed's newest self against what is shown: only what is new or different changes, so that focus, opened
// details and older messages stay.
function merge(list, fresh) {
  const shown = new Map([...list.children].filter((item) => item.id).map((item) => [item.id, item]));
  const wanted = [...fresh.children].filter((item) => item.id);
  if (!wanted.some((item) => shown.has(item.id))) {
    list.replaceChildren(...fresh.children);
    return wanted;
  }
  const added = [];
  const ids = new Set(wanted.map((item) => item.id));
  const all = [...shown.values()];
  for (const old of all.slice(all.findIndex((item) => ids.has(item.id)))) if (!ids.has(old.id)) old.remove();
  let last = null;
  for (const item of wanted) {
    let here = shown.get(item.id);
    if (!here) {
      added.push((here = item));
      last ? last.after(item) : list.querySelector(".bubble, .told")?.before(item);
    } else if (here.dataset.version !== item.dataset.version) {
      here.replaceWith((here = item));
    }
    last = here;
  }
  return added;
}

htmx.defineExtension("keep", {
  isInlineSwap: () => false,
  handleSwap: (style, target, fragment) => {
    if (style !== "keep") return false;
    target.querySelector("[name=seen]").replaceWith(fragment.querySelector("[name=seen]"));
    const list = target.querySelector("ol");
    const wasAtEnd = pane() && atEnd();
    let added = [];
    keepingPlace(() => {
      added = merge(list, fragment.querySelector("ol"));
      nameDays();
    });
    if (pane()) {
      if (wasAtEnd || added.some((item) => item.classList.contains("ours"))) toEnd();
      else if (added.length) document.querySelector("[data-to-end]").hidden = false;
      showNews(added);
    }
    return [...list.children];
  },
});

function answerTo(id) {
  const box = document.getElementById("send-box");
  const bubble = document.getElementById(`m-${id}`);
  box.querySelector("[name=reply]").value = id;
  const answering = box.querySelector("[data-answering]");
  answering.hidden = !id;
  if (!id) return;
  answering.querySelector("[data-author]").textContent = bubble.querySelector(".who").textContent;
  answering.querySelector("[data-text]").textContent =
    (bubble.querySelector(".body, .file strong, .note")?.textContent ?? "").slice(0, 160);
  box.querySelector("textarea").focus();
}

document.addEventListener("click", (event) => {
  const answer = event.target.closest("[data-reply]");
  const nothing = event.target.closest("[data-answer-nothing]");
  if (answer || nothing) {
    event.preventDefault();
    answerTo(answer ? answer.dataset.reply : "");
  }
  if (event.target.closest("[data-to-end]")) toEnd();
});

document.addEventListener("scroll", (event) => {
  if (event.target === pane() && atEnd()) document.querySelector("[data-to-end]").hidden = true;
}, true);

// The line below the box tells of the chosen file, and is not there without one.
function showChosen(box) {
  const input = box.querySelector("[name=file]");
  const file = input.files[0];
  box.querySelector("[data-chosen]").hidden = !file;
  for (const item of box.querySelectorAll("[data-file], [data-no-file]")) item.hidden = false;
  box.querySelector("[data-file]").textContent = file?.name ?? "";
  box.querySelector(".as-file").hidden = !/^(image|video|audio)\//.test(file?.type ?? "");
  const isTooLarge = file && file.size > Number(box.dataset.limit);
  input.setCustomValidity(isTooLarge ? box.dataset.tooLarge : "");
  input.reportValidity();
}

document.addEventListener("change", (event) => {
  if (event.target.name === "file") showChosen(event.target.form);
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-no-file]");
  if (!button) return;
  button.form.querySelector("[name=file]").value = "";
  showChosen(button.form);
  button.form.querySelector("textarea").focus();
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.name === "text") {
    event.target.form.requestSubmit();
  }
});

document.addEventListener("htmx:beforeSwap", (event) => {
  const { target, xhr, requestConfig } = event.detail;
  const box = requestConfig.elt.closest("#send-box");
  if (!box || xhr.status !== 422) return;
  // What is wrong is said; everything typed and chosen stays as it is.
  event.detail.shouldSwap = true;
  event.detail.isError = false;
  event.detail.target = box.querySelector("[data-problem]");
  event.detail.swapOverride = "innerHTML";
});

document.addEventListener("htmx:xhr:progress", (event) => {
  const bar = event.target.querySelector?.("progress.sending");
  if (!bar || !event.detail.lengthComputable || !event.target.querySelector("[name=file]").files.length) return;
  bar.hidden = false;
  bar.value = (100 * event.detail.loaded) / event.detail.total;
});

document.addEventListener("htmx:afterRequest", (event) => {
  const box = event.target.closest?.("#send-box");
  if (!box) return;
  box.querySelector("progress.sending").hidden = true;
  for (const button of box.querySelectorAll("button")) button.disabled = false;
});

function begin() {
  const box = document.getElementById("send-box");
  if (box) showChosen(box);
}

document.addEventListener("htmx:afterSwap", (event) => {
  begin();
  if (event.target.closest?.(".bubbles")) nameDays();
  if (event.detail.elt?.id === "send-box") document.querySelector("#send-box textarea")?.focus();
});
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.target.classList?.contains("older")) {
    const view = pane();
    const fromEnd = view.scrollTop;
    setTimeout(() => { view.scrollTop = fromEnd; }, 0);
  }
});
nameDays();
begin();
