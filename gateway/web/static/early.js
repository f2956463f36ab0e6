// Loaded in the head and small, so that a chosen theme or language never flashes up as the other one first.
"use strict";
{
  const html = document.documentElement;
  let theme = null,
    language = null;
  try {
    theme = localStorage.getItem("sluice-theme");
    language = localStorage.getItem("sluice-language");
  } catch {
    /* storage may be forbidden; then nothing was chosen */
  }
  if (theme) html.dataset.theme = theme;
  html.lang = language ?? (/^zh\b/i.test(navigator.language) ? "zh" : "en");
}
