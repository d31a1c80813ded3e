// Curves and spectra, by uPlot.
const charts = [];

/** A number as short as it may be. */
function short(value) {
  if (value == null) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1e5 || size < 1e-3) return value.toExponential(1);
  return String(+value.toPrecision(4));
}

/** Axes in the colours of the page. */
function axis(more) {
  const soft = css("--soft"), line = css("--line");
  return { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "12px system-ui, sans-serif", ...more };
}

/** Whether all of a chart is in sight, none of it enlarged. */
const whole = (u) => u.scales.x.min == null || (u.scales.x.min <= u.data[0][0] && u.scales.x.max >= u.data[0].at(-1));

/** Series with x of their own as one table, and lines across as constant series. */
function joined(chart) {
  const tables = chart.series.map((s) => [s.x, s.y]);
  const table = tables.length > 1 ? uPlot.join(tables) : tables[0];
  const marks = chart.marks.map((mark) => table[0].map(() => mark.y));
  return [...table, ...marks];
}

/** Heights to draw where a task begins far too easy, as while a queue holds random vectors. */
function calm(chart) {
  const easy = { loss: -1, accuracy: 1 }[chart.key];
  if (!easy || chart.series.some((s) => s.y.length < 20)) return null;
  const rest = ends([...chart.series.flatMap((s) => s.y.slice(Math.ceil(s.y.length / 40))), ...chart.marks.map((mark) => mark.y)]);
  const begin = chart.series.map((s) => s.y[0]), span = rest[1] - rest[0];
  const far = span > 0 && begin.some((y) => (easy < 0 ? rest[0] - y : y - rest[1]) > span / 2);
  return far ? { range: rest, begin } : null;
}

/** What stands in the legend while nothing is pointed at: the last value. */
const lastOf = (values) => values.findLast((v) => v != null);

function plot(box, chart, options) {
  const table = joined(chart), cut = options.calm;
  const at = (v, s, i) => (i == null ? lastOf(table[s]) : v);
  const several = chart.series.length > 1;
  const lines = chart.series.map((s) => ({
    label: several || data.runs.length > 1 ? data.runs[s.run] : chart.title,
    stroke: runColor(s.run), width: 2, spanGaps: true,
    points: { show: s.x.length < 40, size: 5 },
    value: (_, v, s, i) => { const y = at(v, s, i); return y == null ? "–" : short(y) + (chart.unit ? " " + chart.unit : ""); },
  }));
  const marks = chart.marks.map((mark) => ({
    label: mark.name, stroke: mark.name.startsWith("collapse") ? css("--ill") : css("--soft"),
    width: 1.5, dash: [6, 5], points: { show: false }, value: () => short(mark.y),
  }));
  const width = Math.max(box.clientWidth, 200);
  const made = new uPlot({
    width, height: options.height,
    cursor: { sync: options.sync ? { key: options.sync } : undefined, points: { size: 7 }, drag: { x: true, y: false } },
    scales: { x: { time: false }, y: options.log ? { distr: 3 } : cut ? { range: (u, least, most) => whole(u) ? uPlot.rangeNum(...cut.range, 0.1, false) : uPlot.rangeNum(least, most, 0.1, false) } : {} },
    axes: [axis({ size: 28 }), axis({ size: 56, values: (_, ticks) => ticks.map((t) => (t == null ? "" : short(t))) })],
    series: [{ label: options.x, value: (_, v, s, i) => short(at(v, s, i)) }, ...lines, ...marks],
  }, table, box);
  const range = `${short(Math.min(...chart.series[0].y))} to ${short(Math.max(...chart.series[0].y))}`;
  made.root.setAttribute("role", "img");
  made.root.setAttribute("aria-label", `${chart.title}: from ${short(chart.series[0].y[0])} to ${short(chart.series[0].y.at(-1))}, between ${range}`);
  charts.push({ made, box, height: options.height });
}

function drawCharts() {
  charts.splice(0).forEach(({ made }) => made.destroy());
  const place = $("charts");
  if (place) {
    place.replaceChildren();
    for (const chart of data.curves.charts) {
      const title = element("h3", {}, chart.title + (chart.unit ? `, ${chart.unit}` : ""));
      const box = element("div");
      const wide = chart.key === "loss" ? "chart wide" : "chart";
      const cut = calm(chart), begin = cut ? ` It begins at ${cut.begin.map(short).join(" and ")}, outside the picture.` : "";
      place.append(element("div", { class: wide, "data-key": chart.key }, title, element("p", {}, chart.meaning + begin), box));
      plot(box, chart, { height: chart.key === "loss" ? 280 : 180, x: data.curves.x, sync: "curves", calm: cut });
    }
  }
  const spectrum = $("spectrum");
  if (spectrum) {
    spectrum.replaceChildren();
    const series = data.spectra.filter((s) => s.y.length > 1).map((s) => ({ run: s.run, x: s.y.map((_, i) => i + 1), y: s.y }));
    if (series.length) plot(spectrum, { title: "share of the largest", unit: "", series, marks: [] }, { height: 230, x: "direction", log: true });
    else spectrum.textContent = "There are too few images for a spectrum.";
  }
}

function resizeCharts() {
  for (const { made, box, height } of charts) made.setSize({ width: Math.max(box.clientWidth, 200), height });
}
onTheme.push(drawCharts);
