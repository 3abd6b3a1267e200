"use strict";
// Before the page is drawn, so that it does not flash in the other theme.
try {
  const chosen = localStorage.getItem("ketacast-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch { /* storage is closed: the system's theme counts */ }
document.documentElement.classList.add("with-script");
