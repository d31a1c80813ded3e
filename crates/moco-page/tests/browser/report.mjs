// What is asked of a report: its sections, a map that answers pointer, keys and lasso, names for
// screen readers. A page without images (their folder is gone) is asked for the rest alone.

export async function report(page, check, shot) {
  const mapped = await page.locator("#map-canvas").count() === 1;
  const sections = ["curves", "map", ...(mapped ? ["neighbours", "extremes", "health", "views"] : []), "settings"];
  for (const section of sections) check(await page.locator(`section#${section} h2`).count() === 1, `section ${section}`);
  check(await page.locator("#charts canvas").count() >= 3, "charts are drawn");
  await shot("light-top");
  if (mapped) {
    check(await page.locator("#spectrum canvas").count() === 1, "the spectrum is drawn");
    await hover(page, check, shot);
    await lasso(page, check, shot);
    await colours(page, check, shot);
    await keys(page, check);
  }
  await page.click("#theme");
  await page.waitForTimeout(300);
  await shot("switched-to-dark");
  const unnamed = await page.evaluate(() => [...document.querySelectorAll("button,select,textarea,canvas[tabindex],img,[role=img]")]
    .filter((e) => !(e.getAttribute("aria-label") || e.getAttribute("alt") !== null || e.textContent.trim() || e.closest("label")))
    .map((e) => e.outerHTML.slice(0, 80)));
  check(unnamed.length === 0, `everything has a name for screen readers ${unnamed.slice(0, 3)}`);
  const headings = await page.evaluate(() => [...document.querySelectorAll("h1,h2,h3,h4")].map((e) => +e.tagName[1]));
  check(headings[0] === 1 && headings.every((h, i) => i === 0 || h <= headings[i - 1] + 2), "headings have an order");
}

/** Walks over the map until a point is met. */
async function hover(page, check, shot) {
  const canvas = page.locator("#map-canvas"), tip = page.locator("#map-tip");
  await canvas.scrollIntoViewIfNeeded();
  const box = await canvas.boundingBox();
  const places = Array.from({ length: 15 * 16 }, (_, i) => [0.1 + 0.05 * (i % 16), 0.15 + 0.05 * Math.floor(i / 16)]);
  let met = false;
  for (const [x, y] of places) {
    await page.mouse.move(box.x + box.width * x, box.y + box.height * y);
    if ((met = await tip.isVisible())) break;
  }
  check(met && (await tip.innerText()).length > 3, "hover names an image");
  check(met && (await tip.locator(".t").evaluate((e) => getComputedStyle(e).backgroundImage)).startsWith('url("data:image'), "hover shows its thumbnail");
  check(await page.locator("#map-one .near .t").count() > 0, "its neighbours stand beside the map");
  await shot("light-hover");
}

/** Draws a lasso around the middle, and takes the list away. */
async function lasso(page, check, shot) {
  const box = await page.locator("#map-canvas").boundingBox();
  await page.click("#map-lasso");
  const corners = [[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8], [0.2, 0.25]].map(([x, y]) => [box.x + box.width * x, box.y + box.height * y]);
  await page.mouse.move(...corners[0]);
  await page.mouse.down();
  for (const corner of corners) await page.mouse.move(...corner, { steps: 8 });
  await page.mouse.up();
  const names = (await page.inputValue("#map-names")).split("\n").filter(Boolean);
  check(names.length > 0, `lasso lists ${names.length} names`);
  await shot("light-lasso");
  const saved = page.waitForEvent("download");
  await page.click("#map-save");
  check((await saved).suggestedFilename() === "images.txt", "the list is a download");
  await page.click("#map-clear");
}

async function colours(page, check, shot) {
  const options = await page.locator("#map-color option").allInnerTexts();
  check(options.includes("group"), `colours: ${options.join(", ")}`);
  await page.selectOption("#map-color", { label: "group" });
  await page.check("#map-pictures");
  await shot("light-pictures");
  await page.uncheck("#map-pictures");
  await page.click("#map-in");
  await page.click("#map-all");
}

/** From image to image by the arrow keys; L for what is in sight, Escape to clear. */
async function keys(page, check) {
  const name = () => page.locator("#map-one").innerText();
  await page.locator("#map-canvas").focus();
  await page.keyboard.press("Escape");
  await page.keyboard.press("ArrowRight");
  const met = new Set([await name()]);
  for (const key of ["ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"]) {
    await page.keyboard.press(key);
    met.add(await name());
  }
  check(met.size >= 3 && [...met].every((text) => text.length > 3), `arrow keys go from image to image (${met.size} of 5)`);
  await page.keyboard.press("l");
  check(await page.locator("#map-chosen").isVisible(), "L lists what is in sight");
  await page.keyboard.press("Escape");
  check(!(await page.locator("#map-chosen").isVisible()), "Escape clears");
}
