// The table behind the figure: the points shown, or the selected ones of them, sorted by any column.
const order = { column: "actual", falling: false };

function columns() {
  const point = test();
  const found = [
    { key: "index", title: "training index", value: (row) => point.train_index[row], text: String },
    { key: "label", title: "class", value: (row) => point.label[row], text: String },
    { key: "actual", title: "actual", value: (row) => point.actual[row], text: (x) => number(x, 4) },
    { key: "certificate", title: "± certificate", value: (row) => point.certificate[row], text: (x) => number(x, 2) },
  ];
  for (const method of chosenMethods()) {
    const { change, stderr } = point.predictions[method.name];
    found.push({ key: method.name, title: method.name, value: (row) => change[row], text: (x) => number(x, 4) });
    if (stderr.some((value) => value)) {
      found.push({ key: `${method.name} ±`, title: "± standard error", value: (row) => stderr[row], text: (x) => number(x, 2) });
    }
  }
  return found;
}

function heading(column) {
  const sorted = order.column === column.key;
  const button = make("button", { type: "button" }, column.title + (sorted ? (order.falling ? " ↓" : " ↑") : ""));
  button.addEventListener("click", () => {
    order.falling = sorted && !order.falling;
    order.column = column.key;
    drawTable();
    [...element("table").querySelectorAll("thead button")].find((made) => made.textContent.startsWith(column.title)).focus();
  });
  const direction = sorted ? (order.falling ? "descending" : "ascending") : "none";
  return make("th", { scope: "col", "aria-sort": direction }, button);
}

function drawTable() {
  if (!element("behind").open) return;
  const all = columns();
  const by = all.find((column) => column.key === order.column) ?? all[2];
  const point = test();
  const rows = shownRows().filter((row) => !choice.selected.size || choice.selected.has(point.train_index[row]));
  rows.sort((a, b) => ((by.value(a) ?? Infinity) - (by.value(b) ?? Infinity)) * (order.falling ? -1 : 1));
  const body = make("tbody");
  for (const row of rows) {
    const index = point.train_index[row];
    const button = make("button", { type: "button" }, String(index));
    button.addEventListener("click", () => { showPoint(index); drawFigure(); markCurrent(); });
    const line = make("tr", { "data-index": index }, make("th", { scope: "row" }, button));
    for (const column of all.slice(1)) line.append(make("td", {}, column.text(column.value(row))));
    body.append(line);
  }
  const caption = make("caption", {}, `${rows.length} points of test point ${point.index}; changes of the test loss`);
  element("table").replaceChildren(caption, make("thead", {}, make("tr", {}, ...all.map(heading))), body);
  markCurrent();
}

function markCurrent() {
  for (const line of element("table").querySelectorAll("tbody tr")) {
    line.setAttribute("aria-current", String(Number(line.dataset.index) === choice.current));
  }
}
