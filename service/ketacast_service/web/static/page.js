// The page works without this file; with it, answers come while typing.
const form = document.getElementById("inputs");
const list = document.getElementById("list");
const said = document.getElementById("said");
const words = document.body.dataset;
const PROFILE = "ketacast-clinic";
const WAIT = 150; // ms after the last key: one answer, one record, for one pause
let profile = "";
let running = null;
let timer = 0;

const byId = (name) => document.getElementById(name);
const show = (name) => { const found = byId(name); if (found) found.hidden = false; };

function inputs() {
  const found = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    if (typeof value === "string" && value.trim() && name !== "medications") found.append(name, value.trim());
  }
  return found;
}

async function fetchAnswer(explicit) {
  const asked = inputs();
  if (!explicit) asked.append("live", "1");
  else if (!asked.has("failed_trials")) asked.append("failed_trials", "");
  running?.abort();
  const mine = new AbortController();
  running = mine;
  const options = { signal: mine.signal, headers: { Accept: "text/html" } };
  let address = `/page/answer?${asked}`;
  if (profile) {
    const body = new FormData();
    for (const [name, value] of asked) body.append(name, value);
    body.append("clinic", new Blob([profile], { type: "application/json" }), "clinic.json");
    address = "/page/answer";
    Object.assign(options, { method: "POST", body });
  }
  performance.mark("asked");
  try {
    const answer = await fetch(address, options);
    if (!(answer.headers.get("content-type") || "").startsWith("text/html")) throw new Error(answer.status);
    const text = await answer.text();
    if (running !== mine) return;
    place(text);
    performance.measure("answer", "asked");
    keepAddress();
    if (explicit) moveFocus();
  } catch (error) {
    if (error.name !== "AbortError") said.textContent = words.failed;
  }
}

function place(text) {
  const open = new Set([...document.querySelectorAll("[data-part] details[open]")].map((one) => one.id));
  const arrived = new DOMParser().parseFromString(text, "text/html");
  for (const part of arrived.querySelectorAll("[data-part]")) {
    const old = document.querySelector(`[data-part="${part.dataset.part}"]`);
    if (!old) continue;
    if (part.dataset.part === "said" && old.textContent === part.textContent) continue;
    old.replaceChildren(...part.childNodes);
    if (part.dataset.part.startsWith("error-")) mark(part.dataset.part.slice(6), old.textContent.trim() !== "");
  }
  for (const id of open) { const found = byId(id); if (found) found.open = true; }
  byId("summary")?.remove();
  enhance();
}

function mark(name, wrong) {
  const field = byId(name);
  if (!field) return;
  if (wrong) field.setAttribute("aria-invalid", "true");
  else field.removeAttribute("aria-invalid");
  const around = field.closest("details.field");
  if (wrong && around) around.open = true;
}

function keepAddress() {
  const shown = inputs();
  history.replaceState(null, "", `/?${shown}`);
  for (const link of document.querySelectorAll("a[data-lang]")) {
    shown.set("lang", link.dataset.lang);
    link.href = `/?${shown}`;
  }
  for (const old of list.querySelectorAll("input:not([name=lang])")) old.remove();
}

function moveFocus() {
  const wrong = form.querySelector("[aria-invalid=true]") || (byId("rated_by-error").textContent.trim() && byId("rated_by-self"));
  (wrong || byId("answer-title")).focus();
  if (!wrong) byId("answer").scrollIntoView({ block: "start" });
}

function later(wait) {
  clearTimeout(timer);
  timer = setTimeout(() => fetchAnswer(false), wait);
}

form.addEventListener("input", (event) => {
  if (event.target.type !== "file" && event.target.id !== "keep" && event.target.id !== "medications") later(event.target.type === "radio" ? 0 : WAIT);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(timer);
  fetchAnswer(true);
});

// Failed trials from a medication list: counted by the service, kept nowhere.
list.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = new FormData();
  body.append("lang", document.documentElement.lang);
  body.append("part", "1");
  body.append("medications", byId("medications").value);
  try {
    const answer = await fetch("/page/count", { method: "POST", body });
    if (!(answer.headers.get("content-type") || "").startsWith("text/html")) throw new Error(answer.status);
    place(await answer.text());
    const counted = document.querySelector(".counted");
    if (!counted?.dataset.usable) return;
    const { low, high } = counted.dataset;
    byId("failed_trials").value = low === high ? low : `${low}-${high}`;
    said.textContent = counted.querySelector("p").textContent;
    later(0);
  } catch {
    said.textContent = words.failed;
  }
});

// A letter for each infusion so far, by buttons.
show("letters");
byId("letters").addEventListener("click", (event) => {
  const letter = event.target.dataset?.letter;
  if (letter === undefined) return;
  const field = byId("so_far");
  field.value = letter ? field.value + letter : field.value.slice(0, -1);
  later(0);
});

// A clinic's profile stays here; it is kept beyond this visit only if that is ticked.
const file = byId("clinic");
const keep = byId("keep");
const store = (action) => { try { return action(localStorage); } catch { return null; } };
byId("send-clinic").hidden = true;
show("keep-line");
file.addEventListener("change", async () => {
  profile = file.files.length ? await file.files[0].text() : "";
  if (keep.checked && profile) store((box) => box.setItem(PROFILE, profile));
  later(0);
});
keep.addEventListener("change", () => {
  if (keep.checked && profile) store((box) => box.setItem(PROFILE, profile));
  else store((box) => box.removeItem(PROFILE));
});
byId("forget").addEventListener("click", () => {
  store((box) => box.removeItem(PROFILE));
  profile = "";
  keep.checked = false;
  file.value = "";
  byId("kept").hidden = true;
  file.focus();
  later(0);
});
const kept = store((box) => box.getItem(PROFILE));
if (kept) {
  profile = kept;
  keep.checked = true;
  byId("own-clinic").open = true;
  show("kept");
  if (inputs().has("rated_by")) later(0);
}

async function copy(text, done) {
  try {
    await navigator.clipboard.writeText(text);
    said.textContent = done;
  } catch {
    said.textContent = words.copyFailed;
  }
}
function enhance() {
  const button = byId("copy-note");
  if (!button) return;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await copy(byId("note").textContent, words.copied);
    button.dataset.done = said.textContent;
  });
}
enhance();
for (const name of ["theme", "copy-link", "print"]) show(name);
byId("copy-link").addEventListener("click", () => copy(location.href.replace(/#.*/, ""), words.linkDone));
// Closed sections print empty in some browsers.
window.addEventListener("beforeprint", () => { const limits = byId("limits"); if (limits) limits.open = true; });
byId("print").addEventListener("click", () => window.print());
byId("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const now = root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
  store((box) => box.setItem("ketacast-theme", root.dataset.theme));
});
