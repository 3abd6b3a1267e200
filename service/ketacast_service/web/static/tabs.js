// Sections become tabs by the ARIA pattern; without script, and in print, all of them are shown.
const box = document.getElementById("tabs");
const panels = [...box.querySelectorAll(":scope > .panel")];
const list = document.createElement("div");
list.className = "tablist";
list.setAttribute("role", "tablist");
list.setAttribute("aria-label", box.dataset.label);

const tabs = panels.map((panel) => {
  const tab = document.createElement("button");
  tab.type = "button";
  tab.id = panel.id.replace("panel-", "tab-");
  tab.textContent = panel.dataset.tab;
  tab.setAttribute("role", "tab");
  tab.setAttribute("aria-controls", panel.id);
  panel.setAttribute("role", "tabpanel");
  panel.setAttribute("aria-labelledby", tab.id);
  tab.addEventListener("click", () => choose(tabs.indexOf(tab)));
  list.append(tab);
  return tab;
});

function choose(place, focus) {
  tabs.forEach((tab, at) => {
    const chosen = at === place;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    panels[at].classList.toggle("off", !chosen);
  });
  if (focus) tabs[place].focus();
  try { sessionStorage.setItem("ketacast-tab", tabs[place].id); } catch { /* closed */ }
}

list.addEventListener("keydown", (event) => {
  const now = tabs.findIndex((tab) => tab.getAttribute("aria-selected") === "true");
  const next = {
    ArrowRight: (now + 1) % tabs.length,
    ArrowLeft: (now + tabs.length - 1) % tabs.length,
    Home: 0,
    End: tabs.length - 1,
  }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  choose(next, true);
});

let first = 0;
try {
  first = Math.max(0, tabs.findIndex((tab) => tab.id === sessionStorage.getItem("ketacast-tab")));
} catch { /* closed */ }
box.before(list);
choose(first);

// A sortable table: a button in each heading, the order said by aria-sort.
const collator = new Intl.Collator(document.documentElement.lang);
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(head.querySelector(".label"));
    head.prepend(button);
    button.addEventListener("click", () => sort(table, heads, column));
  });
}
for (const element of document.querySelectorAll(".scripted[hidden]")) element.hidden = false;

function sort(table, heads, column) {
  const up = heads[column].getAttribute("aria-sort") !== "ascending";
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", up ? "ascending" : "descending");
  const body = table.tBodies[0];
  const value = (row) => row.cells[column].dataset.value;
  const rows = [...body.rows].sort((one, two) => {
    const [a, b] = [value(one), value(two)];
    if (a === "" || b === "") return (a === "") - (b === ""); // what is not known stays last
    const difference = Number.isNaN(a - b) ? collator.compare(a, b) : a - b;
    return (up ? 1 : -1) * difference;
  });
  body.append(...rows);
}
