// Connect the controls, draw once, and again when a choice, the size or the theme changes.
function redraw() {
  drawFigure();
  drawTable();
  const rows = shownRows();
  element("step").max = Math.max(0, rows.length - 1);
  element("step").disabled = !rows.length;
}

function checkbox(name, checked, change, ...words) {
  const input = make("input", { type: "checkbox", name, ...(checked ? { checked: "" } : {}) });
  input.addEventListener("change", () => { change(input.checked); redraw(); });
  return make("label", {}, input, " ", ...words);
}

const toggle = (chosen, value) => (on) => {
  if (on) choice[chosen].add(value);
  else choice[chosen].delete(value);
};

function methodBoxes() {
  data.methods.forEach((method, index) => {
    const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = `var(--method-${index % SYMBOLS.length})`;
    const box = checkbox("method", choice.methods.has(method.name), toggle("methods", method.name), swatch, method.name);
    box.querySelector("input").value = method.name;
    element("methods").append(box);
  });
}

function classBoxes() {
  const boxes = data.classes.map((label) => {
    const box = checkbox("class", true, toggle("classes", label), String(label));
    box.querySelector("input").value = label;
    return box;
  });
  element("classes").append(...boxes);
  const setAll = (on) => {
    choice.classes = new Set(on ? data.classes : []);
    for (const box of boxes) box.querySelector("input").checked = on;
    redraw();
  };
  element("all-classes").addEventListener("click", () => setAll(true));
  element("no-classes").addEventListener("click", () => setAll(false));
}

function otherControls() {
  const follow = (selector, change) => document.querySelectorAll(selector).forEach((input) =>
    input.addEventListener("change", () => { change(input); redraw(); }));
  follow("input[name=sign]", (input) => { choice.sign = input.value; });
  follow("input[name=limits]", (input) => { choice.limits = input.value; });
  follow("#identity", (input) => { choice.identity = input.checked; });
  follow("#test", (input) => { choice.test = Number(input.value); choice.selected.clear(); showSelection(); });
  element("behind").addEventListener("toggle", drawTable);
  element("clear").addEventListener("click", () => { choice.selected.clear(); showSelection(); redraw(); });
  element("controls").addEventListener("submit", (event) => event.preventDefault());
  element("step").addEventListener("input", () => {
    const row = shownRows()[Number(element("step").value)];
    if (row === undefined) return;
    showPoint(test().train_index[row]);
    drawFigure();
    markCurrent();
  });
}

function pointing() {
  const figure = element("figure");
  figure.on("plotly_hover", (event) => showPoint(event.points[0].customdata));
  figure.on("plotly_click", (event) => { showPoint(event.points[0].customdata); drawFigure(); markCurrent(); });
  figure.on("plotly_selected", (event) => {
    // Without a box or a lasso it is Plotly that speaks, of a frame that was taken away.
    if (!event?.range && !event?.lassoPoints) return;
    choice.selected = new Set(event.points.map((point) => point.customdata));
    showSelection();
    redraw();
  });
}

function isDark() {
  const asked = document.documentElement.dataset.theme;
  return asked ? asked === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
}

function themes() {
  const button = element("theme");
  const renew = () => { button.textContent = isDark() ? "Light" : "Dark"; drawFigure(); drawTraces(); };
  button.hidden = false;
  button.setAttribute("aria-label", "Switch between light and dark");
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    renew();
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", renew);
  button.textContent = isDark() ? "Light" : "Dark";
}

element("interactive").hidden = false;
methodBoxes();
classBoxes();
otherControls();
redraw();
pointing();
drawTraces();
themes();
let width = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth === width) return;
  width = window.innerWidth;
  drawFigure();
  drawTraces();
});
