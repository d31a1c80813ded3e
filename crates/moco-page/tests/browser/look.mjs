// Opens a report in headless Chromium and does what a reader does. Run by hand:
//
//   npm install playwright-core@1.65 && node look.mjs PAGE.html [FOLDER FOR SCREENSHOTS] [--chromium PATH]
//
// It fails on an error in the console, a request to anywhere, a missing section, a map without
// points, a hover without its thumbnail, or a lasso without names. Look at the screenshots yourself.
import { chromium } from "playwright-core";
import { mkdirSync } from "node:fs";
import { resolve } from "node:path";

const args = process.argv.slice(2);
const flag = args.indexOf("--chromium");
const executablePath = flag < 0 ? "/usr/bin/chromium" : args.splice(flag, 2)[1];
const [page_, folder = "screenshots"] = args;
if (!page_) throw new Error("which page? node look.mjs PAGE.html");
mkdirSync(folder, { recursive: true });
const address = "file://" + resolve(page_);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"] });
const failures = [];

/** Opens the page in a context of its own and listens for what should not happen. */
async function open(options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && failures.push(`console: ${m.text()}`));
  page.on("pageerror", (e) => failures.push(`script: ${e.message}`));
  page.on("request", (r) => !/^(file|data|blob):/.test(r.url()) && failures.push(`request: ${r.url()}`));
  await page.goto(address);
  await page.waitForTimeout(600);
  return page;
}
const check = (fine, what) => { console.log(`${fine ? "ok  " : "FAIL"} ${what}`); if (!fine) failures.push(what); };
/** The text without what stands only for screen readers. */
const shot = (page, name, more = {}) => page.screenshot({ path: `${folder}/${name}.png`, ...more });

const page = await open({ viewport: { width: 1280, height: 900 } });
for (const section of ["curves", "map", "neighbours", "extremes", "health", "settings"]) {
  check(await page.locator(`section#${section} h2`).count() === 1, `section ${section}`);
}
check(await page.locator("#charts canvas").count() >= 3, "charts are drawn");
check(await page.locator("#spectrum canvas").count() === 1, "the spectrum is drawn");
await shot(page, "light-top");
await shot(page, "light-whole", { fullPage: true });

// Hover: walk over the map until a point is met.
const canvas = page.locator("#map-canvas");
await canvas.scrollIntoViewIfNeeded();
const box = await canvas.boundingBox();
const tip = page.locator("#map-tip");
let hovered = false;
walk: for (let y = 0.15; y < 0.9; y += 0.05) {
  for (let x = 0.1; x < 0.9; x += 0.05) {
    await page.mouse.move(box.x + box.width * x, box.y + box.height * y);
    if (await tip.isVisible()) { hovered = true; break walk; }
  }
}
check(hovered && (await tip.innerText()).length > 3, "hover names an image");
check(hovered && (await tip.locator(".t").evaluate((e) => getComputedStyle(e).backgroundImage)).startsWith("url(\"data:image"), "hover shows its thumbnail");
check(await page.locator("#map-one .near .t").count() > 0, "its neighbours stand beside the map");
await shot(page, "light-hover");

// Lasso around the middle.
await page.click("#map-lasso");
const corners = [[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8], [0.2, 0.25]];
await page.mouse.move(box.x + box.width * corners[0][0], box.y + box.height * corners[0][1]);
await page.mouse.down();
for (const [x, y] of corners) await page.mouse.move(box.x + box.width * x, box.y + box.height * y, { steps: 8 });
await page.mouse.up();
const names = (await page.inputValue("#map-names")).split("\n").filter(Boolean);
check(names.length > 0, `lasso lists ${names.length} names`);
await shot(page, "light-lasso");
const saved = page.waitForEvent("download");
await page.click("#map-save");
check((await saved).suggestedFilename() === "images.txt", "the list is a download");
await page.click("#map-clear");

// Colour, pictures, zoom, keys.
const options = await page.locator("#map-color option").allInnerTexts();
check(options.includes("group"), `colours: ${options.join(", ")}`);
await page.selectOption("#map-color", { label: "group" });
await page.check("#map-pictures");
await shot(page, "light-pictures");
await page.uncheck("#map-pictures");
await page.click("#map-in");
await page.click("#map-all");
await canvas.focus();
await page.keyboard.press("ArrowRight");
const first = await page.locator("#map-one").innerText();
await page.keyboard.press("ArrowRight");
await page.keyboard.press("ArrowDown");
check(first.length > 3 && (await page.locator("#map-one").innerText()) !== first, "arrow keys go from image to image");
await page.keyboard.press("l");
check(await page.locator("#map-chosen").isVisible(), "L lists what is in sight");
await page.keyboard.press("Escape");
check(!(await page.locator("#map-chosen").isVisible()), "Escape clears");
await page.click("#theme");
await page.waitForTimeout(300);
await shot(page, "switched-to-dark");
const size = await page.evaluate(() => ({ have: document.documentElement.scrollWidth, room: innerWidth }));
check(size.have <= size.room, `no sideways scrolling at ${size.room} (${size.have})`);
const unnamed = await page.evaluate(() => [...document.querySelectorAll("button,select,textarea,canvas[tabindex],img,[role=img]")]
  .filter((e) => !(e.getAttribute("aria-label") || e.getAttribute("alt") !== null || e.textContent.trim() || e.closest("label"))).map((e) => e.outerHTML.slice(0, 80)));
check(unnamed.length === 0, `everything has a name for screen readers ${unnamed.slice(0, 3)}`);

const dark = await open({ viewport: { width: 1280, height: 900 }, colorScheme: "dark" });
await shot(dark, "dark-whole", { fullPage: true });
const phone = await open({ viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true });
await shot(phone, "phone-whole", { fullPage: true });
const narrow = await phone.evaluate(() => ({ have: document.documentElement.scrollWidth, room: innerWidth }));
check(narrow.have <= 390, `no sideways scrolling at 390 (${narrow.have})`);
const bare = await open({ viewport: { width: 1000, height: 800 }, javaScriptEnabled: false });
check((await bare.locator("main").innerText()).length > 1000, "there is something to read without scripts");

await browser.close();
console.log(failures.length ? `\n${failures.length} failures:\n${failures.join("\n")}` : "\nall is well");
process.exit(failures.length ? 1 : 0);
