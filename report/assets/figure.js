// The scatter, drawn by Plotly from the choices.
const MOST_PIXELS = 620;
let drawings = 0;
const small = window.matchMedia("(max-width: 720px)");

function limits() {
  if (choice.limits === "paper") return { actual: data.paper_limits, predicted: data.paper_limits, own: false };
  const each = chosenMethods().map((method) => test().predictions[method.name].limits);
  const shared = each.filter((found) => !found.own);
  if (!each.length) return { actual: 1, predicted: 1, own: false };
  if (shared.length) return shared[0];
  return each.reduce((a, b) => (a.predicted > b.predicted ? a : b));
}

function scatter(method, rows, index) {
  const point = test();
  const own = point.predictions[method.name];
  const drawn = rows.filter((row) => has(method, row) && own.change[row] !== null && point.actual[row] !== null);
  const ink = methodColour(index);
  const bar = { type: "data", width: 0, thickness: 1, color: ink };
  const selected = drawn.map((row, place) => [row, place]).filter(([row]) => choice.selected.has(point.train_index[row]));
  return {
    type: "scatter",
    mode: "markers",
    name: method.name,
    x: drawn.map((row) => point.actual[row]),
    y: drawn.map((row) => own.change[row]),
    error_x: { ...bar, array: drawn.map((row) => point.certificate[row] ?? 0) },
    error_y: { ...bar, array: drawn.map((row) => own.stderr[row] ?? 0) },
    customdata: drawn.map((row) => point.train_index[row]),
    text: drawn.map((row) => describe(row).replaceAll(", ", "<br>")),
    hovertemplate: "%{text}<extra></extra>",
    marker: {
      color: ink,
      symbol: SYMBOLS[index % SYMBOLS.length],
      size: small.matches ? 9 : 7,
      opacity: 0.65,
      line: {
        color: colour("--text"),
        width: drawn.map((row) => (point.train_index[row] === choice.current ? 3 : 0)),
      },
    },
    selectedpoints: choice.selected.size ? selected.map(([, place]) => place) : null,
    selected: { marker: { opacity: 1 } },
    unselected: { marker: { opacity: 0.15 } },
  };
}

function layout(found) {
  const size = Math.min(element("figure").clientWidth, MOST_PIXELS);
  const axis = { color: colour("--text"), gridcolor: colour("--grid"), zerolinecolor: colour("--line"), nticks: 7, ticklabelstandoff: 5 };
  const end = Math.min(found.actual, found.predicted);
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
    shapes: choice.identity
      ? [{ type: "line", x0: -end, y0: -end, x1: end, y1: end, layer: "below", line: { color: colour("--muted"), width: 1 } }]
      : [],
    // What is selected is ours to say, not what Plotly remembers.
    selections: [],
    selectionrevision: ++drawings,
    uirevision: `${choice.limits} ${choice.test} ${found.predicted}`,
  };
}

function drawFigure() {
  const rows = shownRows();
  const found = limits();
  const drawn = data.methods.map((method, index) => [method, index]).filter(([method]) => choice.methods.has(method.name));
  Plotly.react("figure", drawn.map(([method, index]) => scatter(method, rows, index)), layout(found), {
    displaylogo: false,
    // Nothing leaves the reader's machine.
    showSendToCloud: false,
    modeBarButtonsToRemove: ["autoScale2d"],
  });
  count(rows, found);
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
