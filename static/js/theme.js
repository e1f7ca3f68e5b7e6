// Runs before the first paint, so that a chosen theme does not flash. Not a module on purpose: modules run later.
(() => {
  try {
    const theme = localStorage.getItem("celesta-theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch { /* a browser without storage follows the system */ }
})();
