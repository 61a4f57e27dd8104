// Before the first paint: the visitor's own choice of light or dark, kept in a cookie that the server reads.
(() => {
  const asked = new URLSearchParams(location.search).get("theme");
  const kept = document.cookie.match(/(?:^|; )lab_theme=(light|dark)/);
  if (asked || kept) return;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.cookie = `lab_theme=${dark ? "dark" : "light"}; path=/; max-age=31536000; samesite=lax${location.protocol === "https:" ? "; secure" : ""}`;
  if (dark && document.cookie.includes("lab_theme=dark")) location.reload();
})();
