// What all parts of the page share: data, colours, small elements.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const RUN_COLORS = ["#2f7ed8", "#e07b1a", "#2ca05a", "#c23b4b", "#8a5fc2", "#1aa3a3", "#b58900", "#d15fa8"];
const COLORS = ["#4c8bd6", "#ee8a2a", "#3aa765", "#d94f57", "#9a6bcb", "#20a8a8", "#c9a227", "#e377b5", "#8d6e5a", "#7f8c96"];

/** The colour of the i-th of so many classes: ten that are told apart well, then all hues. */
function color(i) {
  if (i < 0) return css("--soft");
  return i < COLORS.length ? COLORS[i] : `hsl(${(i * 137.5) % 360} 62% ${i % 2 ? 62 : 46}%)`;
}

const SCALE = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
/** Viridis, by lines between five of its points. */
function scaleColor(share) {
  const place = Math.min(Math.max(share, 0), 1) * 4, from = Math.min(Math.floor(place), 3);
  const channel = (c) => Math.round(SCALE[from][c] + (SCALE[from + 1][c] - SCALE[from][c]) * (place - from));
  return `rgb(${channel(0)} ${channel(1)} ${channel(2)})`;
}
const ends = (numbers) => numbers.reduce(([a, b], n) => [Math.min(a, n), Math.max(b, n)], [Infinity, -Infinity]);

const runColor = (i) => RUN_COLORS[i % RUN_COLORS.length];

/** An element with attributes and children; text is text, never markup. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Numbers below 65536 from base64 of two bytes each. */
function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Uint16Array(bytes.buffer);
}

/** Keeps something over a reload, where the browser allows it. */
const memory = {
  get(key) { try { return sessionStorage.getItem(location.pathname + key); } catch { return null; } },
  set(key, value) { try { sessionStorage.setItem(location.pathname + key, value); } catch { /* private mode */ } },
};
const onTheme = [];
