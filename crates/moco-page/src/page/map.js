// The map of the images: points or pictures, colours, zoom, lasso.
function startMap(map) {
  const app = $("map-app"), canvas = $("map-canvas"), context = canvas.getContext("2d");
  app.hidden = false;
  const runs = map.runs.map((run) => ({
    ...run, points: unpack(run.points), near: unpack(run.near), like: unpack(run.like),
  }));
  runs.forEach((run) => { run.extent = extent(run.points); });
  const count = map.names.length;
  const columns = [...map.columns, { name: "group", values: null, of: null }];
  const sprite = new Image();
  let run = runs[0], column = 0, hidden = new Set(), chosen = new Set(), active = -1;
  let scale = 1, offset = [0, 0], lasso = null, lassoing = false, pictures = false;

  // The picture of all tiles is in the style sheet once, and read from there.
  const probe = element("span", { class: "t" });
  app.append(probe);
  sprite.onload = draw;
  const address = getComputedStyle(probe).backgroundImage.match(/^url\("?(.*?)"?\)$/);
  if (address) sprite.src = address[1];
  probe.remove();
  const rows = Math.ceil(count / map.across);

  const valueOf = (i) => (columns[column].of ?? run.clusters)[i];
  const valueNames = () => columns[column].values ?? Array.from({ length: Math.max(...run.clusters) + 1 }, (_, i) => `group ${i + 1}`);
  const shown = (i) => !hidden.has(valueOf(i));
  /** The colour of an image: of its class, or on a scale for numbers. */
  function colorOf(i) {
    const { numbers } = columns[column], value = valueOf(i);
    if (!numbers || value < 0) return color(value);
    const [least, most] = ends(numbers);
    return scaleColor((numbers[value] - least) / (most - least || 1));
  }

  function size() { return [canvas.clientWidth, canvas.clientHeight]; }
  /** Shares of the grid that the points of a run take, across and down. */
  function extent(points) {
    return [0, 1].map((axis) => {
      const [least, most] = ends(points.filter((_, i) => i % 2 === axis));
      return Math.max((most - least) / 65535, 0.01);
    });
  }
  /** Where an image lies on the canvas; the map is laid on its side where the canvas is tall. */
  function at(i) {
    const [w, h] = size(), tall = h > w, [across, down] = tall ? run.extent.toReversed() : run.extent;
    const side = 0.94 * Math.min(w / across, h / down) * scale, [x, y] = [0, 1].map((axis) => run.points[2 * i + axis] / 65535 - 0.5);
    return [(tall ? y : x) * side + w / 2 + offset[0], (tall ? x : y) * side + h / 2 + offset[1]];
  }

  function tile(i, name) {
    const made = element("span", { class: `t ${name}`, role: "img", "aria-label": label(i) });
    const place = (k, of) => (100 * k) / Math.max(of - 1, 1);
    made.style.backgroundPosition = `${place(i % map.across, map.across)}% ${place(Math.floor(i / map.across), rows)}%`;
    return made;
  }
  function label(i) {
    const parts = columns.map((c) => (c.of ? c.of[i] >= 0 && `${c.name} ${c.values[c.of[i]]}` : `group ${run.clusters[i] + 1}`));
    return [map.names[i], ...parts.filter(Boolean)].join(", ");
  }

  let waiting = false;
  function draw() {
    if (!waiting) { waiting = true; requestAnimationFrame(paint); }
  }
  function paint() {
    waiting = false;
    const [w, h] = size(), ratio = devicePixelRatio || 1;
    if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
      canvas.width = Math.round(w * ratio);
      canvas.height = Math.round(h * ratio);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, w, h);
    if (pictures && sprite.complete && sprite.naturalWidth) paintPictures(w, h);
    else paintPoints(w, h);
    if (active >= 0) ring(active, css("--text"), 8);
    if (lasso && lasso.length > 1) {
      context.beginPath();
      lasso.forEach(([x, y]) => context.lineTo(x, y));
      context.closePath();
      context.fillStyle = css("--accent") + "22";
      context.strokeStyle = css("--accent");
      context.lineWidth = 1.5;
      context.fill();
      context.stroke();
    }
  }
  function ring(i, stroke, radius) {
    const [x, y] = at(i);
    context.beginPath();
    context.arc(x, y, radius, 0, 7);
    context.strokeStyle = stroke;
    context.lineWidth = 2;
    context.stroke();
  }
  function paintPoints(w, h) {
    const radius = Math.min(7, Math.max(1.8, 90 / Math.sqrt(count)) * Math.sqrt(scale));
    for (let i = 0; i < count; i++) {
      if (!shown(i)) continue;
      const [x, y] = at(i);
      if (x < -9 || y < -9 || x > w + 9 || y > h + 9) continue;
      context.globalAlpha = chosen.size && !chosen.has(i) ? 0.2 : 0.85;
      context.fillStyle = colorOf(i);
      context.beginPath();
      context.arc(x, y, radius, 0, 7);
      context.fill();
    }
    context.globalAlpha = 1;
  }
  /** As many pictures as have room; the others are points. */
  function paintPictures(w, h) {
    paintPoints(w, h);
    const side = Math.min(72, Math.max(30, 30 * Math.sqrt(scale)));
    const taken = new Set();
    for (let i = 0; i < count; i++) {
      if (!shown(i)) continue;
      const [x, y] = at(i);
      if (x < 0 || y < 0 || x > w || y > h) continue;
      const cell = `${Math.floor(x / side)},${Math.floor(y / side)}`;
      if (taken.has(cell)) continue;
      taken.add(cell);
      const left = (Math.floor(x / side) + 0.5) * side - side / 2, top = Math.floor(y / side) * side;
      context.globalAlpha = chosen.size && !chosen.has(i) ? 0.25 : 1;
      context.drawImage(sprite, (i % map.across) * map.tile, Math.floor(i / map.across) * map.tile, map.tile, map.tile, left + 1, top + 1, side - 2, side - 2);
      context.strokeStyle = colorOf(i);
      context.lineWidth = 2;
      context.strokeRect(left + 1, top + 1, side - 2, side - 2);
    }
    context.globalAlpha = 1;
  }

  function nearestTo(x, y, within) {
    let best = -1, least = within * within;
    for (let i = 0; i < count; i++) {
      if (!shown(i)) continue;
      const [u, v] = at(i), d = (u - x) ** 2 + (v - y) ** 2;
      if (d < least) { least = d; best = i; }
    }
    return best;
  }

  /** Shows an image beside the map, and at the pointer. */
  function activate(i, tip) {
    active = i;
    const box = $("map-tip");
    box.hidden = i < 0 || !tip;
    if (i >= 0) {
      if (tip) {
        box.replaceChildren(tile(i, ""), label(i));
        const [x, y] = at(i), [w] = size();
        box.style.left = `${x > w - 210 ? Math.max(0, x - 130) : x + 12}px`;
        box.style.top = `${Math.max(4, y - 60)}px`;
      }
      const list = element("ul", { class: "near" });
      for (let n = 0; n < run.k; n++) {
        const other = run.near[i * run.k + n], like = run.like[i * run.k + n] / 30000;
        const go = element("button", { type: "button", "aria-label": `${label(other)}, similarity ${like.toFixed(2)}` }, tile(other, ""));
        go.onclick = () => { activate(other, true); canvas.focus({ preventScroll: true }); };
        list.append(element("li", {}, go, element("div", {}, like.toFixed(2))));
      }
      const parts = [tile(i, "large"), element("div", {}, label(i))];
      if (run.k) parts.push(element("div", { class: "hint" }, "Nearest images and their cosines:"), list);
      $("map-one").replaceChildren(...parts);
    }
    draw();
  }

  function zoom(factor, x, y) {
    const [w, h] = size();
    x ??= w / 2; y ??= h / 2;
    const next = Math.min(60, Math.max(0.6, scale * factor)), by = next / scale;
    offset = [x - w / 2 - (x - w / 2 - offset[0]) * by, y - h / 2 - (y - h / 2 - offset[1]) * by];
    scale = next;
    $("map-tip").hidden = true;
    draw();
  }
  function showAll() { scale = 1; offset = [0, 0]; $("map-tip").hidden = true; draw(); }

  function inside([x, y], shape) {
    let is = false;
    for (let a = 0, b = shape.length - 1; a < shape.length; b = a++) {
      const [ax, ay] = shape[a], [bx, by] = shape[b];
      if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) is = !is;
    }
    return is;
  }
  function choose(members) {
    chosen = new Set(members);
    $("map-chosen").hidden = chosen.size === 0;
    $("map-count").textContent = `${chosen.size} ${chosen.size === 1 ? "image" : "images"} chosen`;
    $("map-names").value = members.map((i) => map.names[i]).join("\n");
    $("map-thumbs").replaceChildren(...members.slice(0, 120).map((i) => tile(i, "")));
    draw();
  }
  function setLasso(on) {
    lassoing = on;
    $("map-lasso").setAttribute("aria-pressed", on);
    canvas.classList.toggle("free", on);
  }
  function endLasso() {
    if (lasso && lasso.length > 2) {
      const members = [];
      for (let i = 0; i < count; i++) if (shown(i) && inside(at(i), lasso)) members.push(i);
      choose(members);
    }
    lasso = null;
    setLasso(false);
    draw();
  }

  function legend() {
    const { numbers } = columns[column];
    if (numbers) {
      const bar = element("div", { class: "scale" });
      bar.style.background = `linear-gradient(90deg, ${[0, 0.25, 0.5, 0.75, 1].map(scaleColor).join(", ")})`;
      const [least, most] = ends(numbers);
      return $("map-legend").replaceChildren(bar, `${short(least)} to ${short(most)}`);
    }
    const names = valueNames(), totals = new Map();
    for (let i = 0; i < count; i++) totals.set(valueOf(i), (totals.get(valueOf(i)) ?? 0) + 1);
    const entries = [...totals.keys()].sort((a, b) => a - b).map((value) => {
      const dot = element("span", { class: "dot" });
      dot.style.background = color(value);
      const button = element("button", { type: "button", "aria-pressed": !hidden.has(value) }, dot, `${value < 0 ? "none" : names[value]} (${totals.get(value)})`);
      button.onclick = () => {
        hidden.has(value) ? hidden.delete(value) : hidden.add(value);
        legend();
        draw();
      };
      return button;
    });
    $("map-legend").replaceChildren(...entries);
  }

  // Pointer: hover, drag, pinch, wheel.
  const pointers = new Map();
  let pinch = 0, moved = false;
  const place = (e) => { const box = canvas.getBoundingClientRect(); return [e.clientX - box.left, e.clientY - box.top]; };
  canvas.addEventListener("pointerdown", (e) => {
    pointers.set(e.pointerId, place(e));
    moved = false;
    if (lassoing || e.shiftKey) { lasso = [place(e)]; lassoing = true; }
    canvas.setPointerCapture(e.pointerId);
  });
  canvas.addEventListener("pointermove", (e) => {
    const [x, y] = place(e);
    if (!pointers.has(e.pointerId)) return activate(nearestTo(x, y, 14), true);
    const [px, py] = pointers.get(e.pointerId);
    if (Math.hypot(x - px, y - py) > 2) moved = true;
    if (lasso) { lasso.push([x, y]); return draw(); }
    pointers.set(e.pointerId, [x, y]);
    if (pointers.size === 2) {
      const [a, b] = [...pointers.values()], apart = Math.hypot(a[0] - b[0], a[1] - b[1]);
      if (pinch) zoom(apart / pinch, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
      pinch = apart;
    } else if (e.pointerType !== "touch" || scale > 1) {
      offset = [offset[0] + x - px, offset[1] + y - py];
      $("map-tip").hidden = true;
      draw();
    }
  });
  const up = (e) => {
    pointers.delete(e.pointerId);
    pinch = 0;
    if (lasso) return endLasso();
    if (!moved) { const [x, y] = place(e); activate(nearestTo(x, y, 22), true); }
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", (e) => { pointers.delete(e.pointerId); pinch = 0; lasso = null; draw(); });
  canvas.addEventListener("pointerleave", () => { if (!pointers.size) $("map-tip").hidden = true; });
  canvas.addEventListener("wheel", (e) => {
    // A page is scrolled by the wheel; the map takes it once it has the focus, or with Ctrl.
    if (document.activeElement !== canvas && !e.ctrlKey) return;
    e.preventDefault();
    const [x, y] = place(e);
    zoom(Math.exp(-e.deltaY / 400), x, y);
  }, { passive: false });
  canvas.addEventListener("dblclick", (e) => zoom(2, ...place(e)));

  // Keys.
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  function step([dx, dy]) {
    if (active < 0) return activate(nearestTo(size()[0] / 2, size()[1] / 2, 1e9), true);
    const [x, y] = at(active);
    let best = -1, least = Infinity;
    for (let i = 0; i < count; i++) {
      if (i === active || !shown(i)) continue;
      const [u, v] = at(i), along = (u - x) * dx + (v - y) * dy, across = Math.abs((u - x) * dy - (v - y) * dx);
      if (along > 0.5 && across <= along * 1.2 && along + across < least) { least = along + across; best = i; }
    }
    if (best < 0) return;
    const [u, v] = at(best), [w, h] = size();
    if (u < 0 || v < 0 || u > w || v > h) offset = [offset[0] + w / 2 - u, offset[1] + h / 2 - v];
    activate(best, true);
  }
  canvas.addEventListener("keydown", (e) => {
    if (ways[e.key] && !e.shiftKey) step(ways[e.key]);
    else if (ways[e.key]) { offset = [offset[0] - 60 * ways[e.key][0], offset[1] - 60 * ways[e.key][1]]; draw(); }
    else if (e.key === "+" || e.key === "=") zoom(1.4);
    else if (e.key === "-") zoom(1 / 1.4);
    else if (e.key === "0") showAll();
    else if (e.key === "l" || e.key === "L") {
      const [w, h] = size();
      lasso = [[0, 0], [w, 0], [w, h], [0, h]];
      endLasso();
    } else if (e.key === "Escape") { choose([]); activate(-1); }
    else return;
    e.preventDefault();
  });

  // Controls.
  const select = $("map-color");
  columns.forEach((c, i) => select.append(element("option", { value: i }, c.name)));
  function recolor(i) { column = i; hidden = new Set(); legend(); draw(); }
  select.onchange = () => { memory.set("color", select.value); recolor(+select.value); };
  const runSelect = $("map-run");
  runs.forEach((r, i) => runSelect.append(element("option", { value: i }, data.runs[r.run])));
  $("map-run-label").hidden = runs.length < 2;
  runSelect.onchange = () => { run = runs[+runSelect.value]; activate(active, false); recolor(column); };
  $("map-pictures").onchange = (e) => { pictures = e.target.checked; draw(); };
  $("map-lasso").onclick = () => setLasso(!lassoing);
  $("map-in").onclick = () => zoom(1.4);
  $("map-out").onclick = () => zoom(1 / 1.4);
  $("map-all").onclick = showAll;
  $("map-clear").onclick = () => choose([]);
  $("map-copy").onclick = async (e) => {
    const names = $("map-names");
    try { await navigator.clipboard.writeText(names.value); } catch { names.select(); document.execCommand("copy"); }
    e.target.textContent = "Copied";
    setTimeout(() => { e.target.textContent = "Copy names"; }, 1500);
  };
  $("map-save").onclick = () => {
    const file = new Blob([$("map-names").value + "\n"], { type: "text/plain" });
    const link = element("a", { href: URL.createObjectURL(file), download: "images.txt" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const before = Number(memory.get("color") ?? 0);
  if (before && before < columns.length) { column = before; select.value = before; }
  for (const dot of document.querySelectorAll(".groups .dot")) {
    dot.style.background = color(Number(dot.className.match(/g(\d+)/)[1]));
  }
  legend();
  draw();
  onTheme.push(draw);
  new ResizeObserver(draw).observe(canvas);
}
