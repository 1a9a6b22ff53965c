// Follows the light or dark theme that the reader chose in Airflow, and reads the nodes again twice a minute.
"use strict";
(function () {
  let chosen = null;
  try {
    chosen = window.localStorage.getItem("theme");
  } catch {
    // Storage is closed to this frame: the system's preference decides.
  }
  if (chosen === "light" || chosen === "dark") {
    document.documentElement.dataset.theme = chosen;
  }
  window.addEventListener("storage", function (event) {
    if (event.key === "theme") {
      window.location.reload();
    }
  });
  window.setInterval(function () {
    const reading = document.querySelector("details[open]") || !document.getSelection().isCollapsed;
    if (!document.hidden && !reading) {
      window.location.reload();
    }
  }, 30000);
})();
