// The page on groups: one scatter, coloured by size, and a card with the strongest members of a group.
const MOST_PIXELS = 620;
const state = { method: data.methods[0].name, least: 0, most: Infinity, current: null };
const test = () => data.tests[choice.test];
const hint = element("card-hint");

const own = () => test().predictions[state.method];
const sizeOf = (row) => data.sizes[test().removal[row]];

// Rows that the choices leave, in the order of their actual change.
function shownRows() {
  const { removal, actual } = test();
  return removal.map((_, row) => row)
    .filter((row) => own().change[row] !== null && actual[row] !== null)
    .filter((row) => sizeOf(row) >= state.least && sizeOf(row) <= state.most)
    .sort((a, b) => actual[a] - actual[b]);
}

function describe(row) {
  const { actual, certificate } = test();
  const { change, stderr } = own();
  return [
    `${sizeOf(row).toLocaleString("en")} rows`,
    `actual ${known(actual[row], certificate[row])} ± ${number(certificate[row], 2)}`,
    `${state.method} ${number(change[row])}${stderr[row] ? ` ± ${number(stderr[row], 2)}` : ""}`,
  ];
}

function axis(title) {
  return { title: { text: title }, color: colour("--text"), gridcolor: colour("--grid"), zerolinecolor: colour("--line"), nticks: 7 };
}

function shapes(rows) {
  const ends = rows.flatMap((row) => [test().actual[row], own().change[row]]);
  const [low, high] = [Math.min(0, ...ends), Math.max(0, ...ends)];
  const drawn = [{ type: "line", x0: low, y0: low, x1: high, y1: high, layer: "below", line: { color: colour("--muted"), width: 1 } }];
  const row = state.current;
  if (row !== null && rows.includes(row)) {
    drawn.push({
      type: "circle", xsizemode: "pixel", ysizemode: "pixel", x0: -8, x1: 8, y0: -8, y1: 8,
      xanchor: test().actual[row], yanchor: own().change[row], line: { color: colour("--text"), width: 2 },
    });
  }
  return drawn;
}

function drawFigure(rows) {
  const size = Math.min(element("figure").clientWidth, MOST_PIXELS);
  const [least, most] = [Math.min(...data.sizes), Math.max(...data.sizes)];
  // Groups of one size have one colour, and a bar of colours would say nothing.
  const shown = least === most ? { color: colour("--link") } : {
    colorscale: "Viridis", color: rows.map(sizeOf), cmin: least, cmax: most,
    colorbar: { title: { text: "Rows" }, thickness: 12, outlinewidth: 0, tickfont: { color: colour("--text") } },
  };
  const found = {
    type: "scatter",
    mode: "markers",
    x: rows.map((row) => test().actual[row]),
    y: rows.map((row) => own().change[row]),
    customdata: rows,
    text: rows.map((row) => describe(row).map(verbatim).join("<br>")),
    hovertemplate: "%{text}<extra></extra>",
    marker: { size: 7, opacity: 0.75, ...shown },
  };
  Plotly.react("figure", [found], {
    width: size,
    height: size * 0.85,
    margin: { l: 68, r: 12, t: 12, b: 52 },
    paper_bgcolor: colour("--ground"),
    plot_bgcolor: colour("--ground"),
    font: { color: colour("--text"), family: "system-ui, sans-serif" },
    hovermode: "closest",
    dragmode: "zoom",
    hoverlabel: { bgcolor: colour("--panel"), font: { color: colour("--text") } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--muted"), activecolor: colour("--text") },
    xaxis: axis("Actual diff in loss"),
    yaxis: axis("Predicted diff in loss"),
    shapes: shapes(rows),
    uirevision: `${choice.test} ${state.method}`,
  }, { displaylogo: false, showSendToCloud: false });
  element("count").textContent = `${rows.length.toLocaleString("en")} of ${test().removal.length.toLocaleString("en")} groups shown.`;
}

function facts(row) {
  const { actual, certificate } = test();
  const list = make("dl");
  const add = (name, value) => list.append(make("dt", {}, name), make("dd", {}, value));
  add("rows", sizeOf(row).toLocaleString("en"));
  const classes = data.classes[test().removal[row]];
  add("classes", classes.slice(0, 4).map(([label, count]) => `${label}: ${count.toLocaleString("en")}`).join(", ") + (classes.length > 4 ? ", …" : ""));
  add("actual", known(actual[row], certificate[row]));
  add("± certificate", number(certificate[row], 2));
  for (const method of data.methods) {
    const { change, stderr, certificate: own } = test().predictions[method.name];
    if (change[row] === null) continue;
    add(method.name, number(change[row]));
    if (own[row] !== null) add("± its own certificate", number(own[row], 2));
    if (stderr[row]) add("± standard error", number(stderr[row], 2));
  }
  return list;
}

function member(index) {
  const uri = data.images[index];
  const picture = uri ? [make("img", { src: uri, width: 56, height: 56, alt: `Training ${data.noun} ${index}` })] : [];
  return make("li", {}, make("figure", {}, ...picture, make("figcaption", {}, `#${index}`)));
}

function showCard() {
  const card = element("card");
  const row = state.current;
  if (row === null) {
    card.replaceChildren(hint);
    return;
  }
  const members = test().members[row];
  const rest = sizeOf(row) - members.length;
  const list = make("ul", { class: "examples members" }, ...members.map(member));
  const more = rest > 0 ? [make("p", {}, `and ${rest.toLocaleString("en")} more`)] : [];
  card.replaceChildren(make("h3", {}, `Group ${test().removal[row]}`), facts(row), make("h4", {}, "Members of most influence"), list, ...more);
}

function render() {
  const rows = shownRows();
  if (state.current !== null && !rows.includes(state.current)) state.current = null;
  drawFigure(rows);
  showCard();
  const step = element("step");
  step.max = Math.max(0, rows.length - 1);
  step.disabled = !rows.length;
  const place = rows.indexOf(state.current);
  if (place >= 0) step.value = place;
  step.setAttribute("aria-valuetext", place >= 0 ? describe(rows[place]).join(", ") : "no group chosen");
}

function choose(row) {
  state.current = row;
  render();
}

element("method").append(...data.methods.map((method) => make("option", { value: method.name }, method.name)));
element("method").addEventListener("change", (event) => { state.method = event.target.value; render(); });
element("test").addEventListener("change", (event) => { choice.test = Number(event.target.value); state.current = null; render(); });
for (const [id, key, none] of [["least", "least", 0], ["most", "most", Infinity]]) {
  element(id).addEventListener("input", (event) => { state[key] = event.target.value === "" ? none : Number(event.target.value); render(); });
}
element("step").addEventListener("input", (event) => choose(shownRows()[Number(event.target.value)]));
const theme = element("theme");
theme.hidden = false;
const isDark = () => getComputedStyle(document.documentElement).colorScheme === "dark"
  || (document.documentElement.dataset.theme === undefined && window.matchMedia("(prefers-color-scheme: dark)").matches);
theme.textContent = isDark() ? "Light" : "Dark";
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  theme.textContent = isDark() ? "Light" : "Dark";
  render();
});
element("interactive").hidden = false;
render();
const plot = element("figure");
plot.on("plotly_click", (event) => choose(event.points[0].customdata));
plot.on("plotly_hover", (event) => { state.current = event.points[0].customdata; showCard(); });
window.addEventListener("resize", render);
