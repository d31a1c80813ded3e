// What is asked of a page of `moco search`: every query with its picture, and what is most like it,
// the nearest first.

export async function search(page, check, shot) {
  const sections = page.locator("section");
  const count = await sections.count();
  check(count > 0, `${count} queries`);
  for (let i = 0; i < count; i++) {
    const section = sections.nth(i);
    const name = await section.locator("h2").innerText();
    const found = (await section.locator("ol .n").allInnerTexts()).map(Number);
    const falls = found.every((n, at) => at === 0 || n <= found[at - 1]);
    check(found.length > 0 && falls && found.every((n) => n >= -1 && n <= 1.0001), `${name}: ${found.length} found, the nearest first`);
    const pictures = await section.locator("img").count();
    check(pictures === found.length + 1, `${name}: ${pictures} pictures, its own among them`);
  }
  const unnamed = await page.locator('img:not([alt]), img[alt=""]').count();
  check(unnamed === 0, "every picture has a name");
  await shot("light-top");
}
