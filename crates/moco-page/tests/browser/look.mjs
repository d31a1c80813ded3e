// Opens a page of ours in headless Chromium and does what a reader does. Run by hand:
//
//   npm install playwright-core@1.65 && node look.mjs PAGE.html [FOLDER FOR SCREENSHOTS] [--chromium PATH]
//
// PAGE is a report (`moco report`) or what `moco search --out page.html` wrote. It fails on an error in
// the console, a request to anywhere, sideways scrolling, and on what report.mjs and search.mjs ask of
// the two. Look at the screenshots yourself.
import { chromium } from "playwright-core";
import { mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { report } from "./report.mjs";
import { search } from "./search.mjs";

const args = process.argv.slice(2);
const flag = args.indexOf("--chromium");
const executablePath = flag < 0 ? "/usr/bin/chromium" : args.splice(flag, 2)[1];
const [path, folder = "screenshots"] = args;
if (!path) throw new Error("which page? node look.mjs PAGE.html");
mkdirSync(folder, { recursive: true });

/** Seconds for one action, and for all of them: a page that hangs is a failure, not a wait. */
const ACTION = 30, ALL = 400;
setTimeout(() => { console.error(`the page was not done with after ${ALL} s`); process.exit(1); }, 1000 * ALL).unref();

const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const failures = [];
const check = (fine, what) => {
  console.log(`${fine ? "ok  " : "FAIL"} ${what}`);
  if (!fine) failures.push(what);
};

/** Opens the page in a context of its own and listens for what should not happen. */
async function open(options) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(1000 * ACTION);
  const page = await context.newPage();
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && failures.push(`console: ${m.text()}`));
  page.on("pageerror", (e) => failures.push(`script: ${e.message}`));
  page.on("request", (r) => !/^(file|data|blob):/.test(r.url()) && failures.push(`request: ${r.url()}`));
  await page.goto("file://" + resolve(path));
  await page.waitForTimeout(600);
  return page;
}
const shot = (page, name, more = {}) => page.screenshot({ path: `${folder}/${name}.png`, ...more });

/** The whole page in a frame of this size; nothing may stick out to the side. */
async function whole(name, options) {
  const page = await open(options);
  await shot(page, name, { fullPage: true });
  const [have, room] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  check(have <= options.viewport.width && room <= options.viewport.width, `${name}: no sideways scrolling at ${options.viewport.width} (${have})`);
  const broken = await page.evaluate(() => [...document.images].filter((i) => !i.complete || !i.naturalWidth).length);
  check(broken === 0, `${name}: all pictures are there (${broken} are not)`);
  return page;
}

const desk = { viewport: { width: 1280, height: 900 } };
const phone = { viewport: { width: 375, height: 812 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
try {
  const page = await open(desk);
  const isReport = await page.locator("section#curves").count() === 1;
  await (isReport ? report : search)(page, check, (name) => shot(page, name));
  await whole("light-whole", desk);
  await whole("dark-whole", { ...desk, colorScheme: "dark" });
  await whole("phone-whole", phone);
  await whole("phone-dark-whole", { ...phone, colorScheme: "dark" });
  const bare = await open({ ...desk, javaScriptEnabled: false });
  check((await bare.locator("main").innerText()).length > (isReport ? 1000 : 40), "there is something to read without scripts");
} catch (error) {
  failures.push(error.message);
}
await browser.close();
console.log(failures.length ? `\n${failures.length} failures:\n${failures.join("\n")}` : "\nall is well");
process.exit(failures.length ? 1 : 0);
