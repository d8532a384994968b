// The scatter, drawn by Plotly from the choices.
const MOST_PIXELS = 620;
const RING_PIXELS = 8;
const small = window.matchMedia("(max-width: 720px)");
let drawings = 0;

function limits() {
  const given = data.limits[choice.limits];
  if (given) return { actual: given, predicted: given, own: false };
  const each = chosenMethods().map((method) => test().predictions[method.name].limits);
  const shared = each.filter((found) => !found.own);
  if (!each.length) return { actual: 1, predicted: 1, own: false };
  if (shared.length) return shared[0];
  return each.reduce((a, b) => (a.predicted > b.predicted ? a : b));
}

// Bars of points where any is longer than a pixel; thousands that nobody sees would only cost time.
function bars(lengths, limit, ink) {
  const visible = lengths.some((length) => length > (2 * limit) / MOST_PIXELS);
  return visible ? { type: "data", array: lengths, width: 0, thickness: 1, color: ink } : { visible: false };
}

function scatter(method, index, rows, found) {
  const point = test();
  const own = point.predictions[method.name];
  const drawn = rows.filter((row) => has(method, row) && own.change[row] !== null && point.actual[row] !== null);
  const ink = methodColour(index);
  const places = drawn.map((row, place) => [row, place]);
  const selected = places.filter(([row]) => choice.selected.has(point.train_index[row])).map(([, place]) => place);
  return {
    type: "scatter",
    mode: "markers",
    name: verbatim(method.name),
    x: drawn.map((row) => point.actual[row]),
    y: drawn.map((row) => own.change[row]),
    error_x: bars(drawn.map((row) => point.certificate[row] ?? 0), found.actual, ink),
    error_y: bars(drawn.map((row) => own.stderr[row] ?? 0), found.predicted, ink),
    customdata: drawn.map((row) => point.train_index[row]),
    text: drawn.map((row) => describe(row).map(verbatim).join("<br>")),
    hovertemplate: "%{text}<extra></extra>",
    marker: { color: ink, symbol: SYMBOLS[index % SYMBOLS.length], size: small.matches ? 9 : 7, opacity: 0.65 },
    selectedpoints: choice.selected.size ? selected : null,
    selected: { marker: { opacity: 1 } },
    unselected: { marker: { opacity: 0.15 } },
  };
}

// The identity line, and a ring around the point in the card for each method that has it.
function shapes(found) {
  const end = Math.min(found.actual, found.predicted);
  const line = { type: "line", x0: -end, y0: -end, x1: end, y1: end, layer: "below" };
  const drawn = choice.identity ? [{ ...line, line: { color: colour("--muted"), width: 1 } }] : [];
  const row = choice.current === null ? -1 : rowOf(choice.current);
  if (row < 0) return drawn;
  const ring = { type: "circle", xsizemode: "pixel", ysizemode: "pixel" };
  const size = { x0: -RING_PIXELS, x1: RING_PIXELS, y0: -RING_PIXELS, y1: RING_PIXELS };
  for (const method of chosenMethods()) {
    const change = test().predictions[method.name].change[row];
    if (change === null || test().actual[row] === null) continue;
    const place = { xanchor: test().actual[row], yanchor: change };
    drawn.push({ ...ring, ...size, ...place, line: { color: colour("--text"), width: 2 } });
  }
  return drawn;
}

function layout(found) {
  const size = Math.min(element("figure").clientWidth, MOST_PIXELS);
  const axis = {
    color: colour("--text"), gridcolor: colour("--grid"), zerolinecolor: colour("--line"), nticks: 7, ticklabelstandoff: 5,
  };
  return {
    width: size,
    height: size,
    margin: { l: 68, r: 12, t: 12, b: 52 },
    paper_bgcolor: colour("--ground"),
    plot_bgcolor: colour("--ground"),
    font: { color: colour("--text"), family: "system-ui, sans-serif" },
    showlegend: false,
    // A finger that scrolls the page must not draw a box.
    dragmode: small.matches ? false : "select",
    hovermode: "closest",
    hoverlabel: { bgcolor: colour("--panel"), font: { color: colour("--text") } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--muted"), activecolor: colour("--text") },
    xaxis: { ...axis, title: { text: "Actual diff in loss" }, range: [-found.actual, found.actual] },
    yaxis: { ...axis, title: { text: "Predicted diff in loss" }, range: [-found.predicted, found.predicted] },
    shapes: shapes(found),
    // What is selected is ours to say, not what Plotly remembers.
    selections: [],
    selectionrevision: ++drawings,
    uirevision: `${choice.limits} ${choice.test} ${found.predicted}`,
  };
}

function drawFigure(rows) {
  const found = limits();
  const drawn = data.methods.map((method, index) => [method, index]).filter(([method]) => choice.methods.has(method.name));
  Plotly.react("figure", drawn.map(([method, index]) => scatter(method, index, rows, found)), layout(found), {
    displaylogo: false,
    // Nothing leaves the reader's machine.
    showSendToCloud: false,
    modeBarButtonsToRemove: ["autoScale2d"],
  });
  count(rows, found);
}

// Move the ring alone, which is quick however many points there are.
function drawRing() {
  Plotly.relayout("figure", { shapes: shapes(limits()) });
}

function count(rows, found) {
  const total = candidates().length;
  const point = test();
  const beyond = rows.filter((row) =>
    chosenMethods().some((method) => has(method, row)
      && (Math.abs(point.actual[row]) > found.actual || Math.abs(point.predictions[method.name].change[row]) > found.predicted)));
  const words = [`${rows.length.toLocaleString("en")} of ${total.toLocaleString("en")} points shown`];
  if (beyond.length) words.push(`${beyond.length.toLocaleString("en")} of them beyond the axes`);
  if (found.own) words.push("the vertical axis has a scale of its own");
  if (point.left_out) words.push(`${point.left_out.toLocaleString("en")} more, of smaller actual change, are left out of this page`);
  element("count").textContent = `${words.join("; ")}.`;
}
