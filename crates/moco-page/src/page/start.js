// Light and dark, the place on the page over a reload, and all parts set going.
$("theme").onclick = () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  memory.set("theme", root.dataset.theme);
  onTheme.forEach((redraw) => redraw());
};
if (memory.get("theme")) document.documentElement.dataset.theme = memory.get("theme");
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => onTheme.forEach((redraw) => redraw()));

for (const key of document.querySelectorAll(".key")) {
  key.style.background = runColor(Number(key.className.match(/k(\d+)/)[1]));
}
drawCharts();
if (data.map && data.map.runs.length) startMap(data.map);
let resized;
addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(resizeCharts, 150); });

const place = Number(memory.get("place"));
if (data.reload && place) scrollTo({ top: place, behavior: "instant" });
if (data.reload) {
  addEventListener("pagehide", () => memory.set("place", scrollY));
  // Not while someone looks at something that a reload would take away.
  const busy = () => document.hidden || (!$("map-chosen")?.hidden && $("map-chosen")) || document.activeElement?.id === "map-canvas";
  setInterval(() => { if (!busy()) { memory.set("place", scrollY); location.reload(); } }, data.reload * 1000);
}
