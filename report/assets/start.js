// Draw all from the choices, and connect what changes them.
function render() {
  const rows = shownRows();
  for (const index of [...choice.selected]) if (rowOf(index) < 0) choice.selected.delete(index);
  drawFigure(rows);
  showCard();
  showSelection();
  showStep(rows);
  drawTable(rows);
}

// Put a point into the card; nothing else changes.
function point(index) {
  if (rowOf(index) < 0) return;
  choice.current = index;
  showCard();
  showStep(shownRows());
  drawRing();
  markCurrent();
}

function showStep(rows) {
  const step = element("step");
  const place = choice.current === null ? -1 : rows.indexOf(rowOf(choice.current));
  step.max = Math.max(0, rows.length - 1);
  step.disabled = !rows.length;
  if (place >= 0) step.value = place;
  step.setAttribute("aria-valuetext", place >= 0 ? describe(rows[place]).join(", ") : "no point chosen");
}

function checkbox(name, value, chosen, ...words) {
  const input = make("input", { type: "checkbox", name, value, autocomplete: "off" });
  input.checked = true;
  input.addEventListener("change", () => {
    if (input.checked) choice[chosen].add(value);
    else choice[chosen].delete(value);
    render();
  });
  return [input, make("label", {}, input, " ", ...words)];
}

function methodBoxes() {
  data.methods.forEach((method, index) => {
    const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = `var(--method-${index % SYMBOLS.length})`;
    const [input, label] = checkbox("method", method.name, "methods", swatch, method.name);
    input.checked = choice.methods.has(method.name);
    element("methods").append(label);
  });
}

function classBoxes() {
  const boxes = data.classes.map((label) => checkbox("class", label, "classes", String(label)));
  element("classes").append(...boxes.map(([, label]) => label));
  const setAll = (on) => {
    choice.classes = new Set(on ? data.classes : []);
    for (const [input] of boxes) input.checked = on;
    render();
  };
  element("all-classes").addEventListener("click", () => setAll(true));
  element("no-classes").addEventListener("click", () => setAll(false));
}

function otherControls() {
  const follow = (selector, change) => document.querySelectorAll(selector).forEach((input) =>
    input.addEventListener("change", () => { change(input); render(); }));
  follow("input[name=sign]", (input) => { choice.sign = input.value; });
  follow("input[name=limits]", (input) => { choice.limits = input.value; });
  follow("#identity", (input) => { choice.identity = input.checked; });
  follow("#test", (input) => { choice.test = Number(input.value); choice.selected.clear(); });
  element("behind").addEventListener("toggle", () => drawTable(shownRows()));
  element("clear").addEventListener("click", () => { choice.selected.clear(); render(); element("step").focus(); });
  element("controls").addEventListener("submit", (event) => event.preventDefault());
  let waiting = false;
  element("step").addEventListener("input", () => {
    // Keys that repeat come faster than a figure is drawn.
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      point(test().train_index[shownRows()[Number(element("step").value)]]);
    });
  });
}

function pointing() {
  const figure = element("figure");
  const first = (event) => event.points.find((found) => found.customdata !== undefined)?.customdata;
  figure.on("plotly_hover", (event) => { choice.current = first(event); showCard(); showStep(shownRows()); markCurrent(); });
  figure.on("plotly_click", (event) => point(first(event)));
  figure.on("plotly_deselect", () => { choice.selected.clear(); render(); });
  figure.on("plotly_selected", (event) => {
    // Without a box or a lasso it is Plotly that speaks, of a frame that was taken away.
    if (!event?.range && !event?.lassoPoints) return;
    choice.selected = new Set(event.points.map((found) => found.customdata));
    render();
  });
}

function isDark() {
  const asked = document.documentElement.dataset.theme;
  return asked ? asked === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
}

function redraw() {
  drawFigure(shownRows());
  drawTraces();
}

function themes() {
  const button = element("theme");
  const renew = () => { button.textContent = isDark() ? "Light" : "Dark"; redraw(); };
  button.hidden = false;
  button.setAttribute("aria-label", "Switch between light and dark");
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    renew();
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", renew);
  // Paper is white whatever the screen was.
  window.matchMedia("print").addEventListener("change", renew);
  button.textContent = isDark() ? "Light" : "Dark";
}

element("interactive").hidden = false;
methodBoxes();
classBoxes();
otherControls();
render();
pointing();
drawTraces();
themes();
let width = window.innerWidth;
let resizing;
window.addEventListener("resize", () => {
  if (window.innerWidth === width) return;
  width = window.innerWidth;
  clearTimeout(resizing);
  resizing = setTimeout(redraw, 150);
});
