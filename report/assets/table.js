// The table behind the figure: the points shown, or the selected ones of them, sorted by any column.
const order = { column: "actual", falling: false };

function columns() {
  const point = test();
  const found = [
    { key: "index", title: "training index", value: (row) => point.train_index[row], text: String },
    { key: "label", title: "class", value: (row) => point.label[row], text: String },
    { key: "actual", title: "actual", value: (row) => point.actual[row], text: (x) => number(x, 5) },
    { key: "certificate", title: "± certificate", value: (row) => point.certificate[row], text: (x) => number(x, 2) },
  ];
  for (const method of chosenMethods()) {
    const { change, stderr } = point.predictions[method.name];
    found.push({ key: `${method.name} change`, title: method.name, value: (row) => change[row], text: (x) => number(x, 5) });
    if (stderr.some((value) => value)) {
      const title = `${method.name} ± standard error`;
      found.push({ key: `${method.name} error`, title, value: (row) => stderr[row], text: (x) => number(x, 2) });
    }
  }
  return found;
}

function heading(column) {
  const sorted = order.column === column.key;
  const arrow = sorted ? (order.falling ? " ↓" : " ↑") : "";
  const button = make("button", { type: "button", "data-column": column.key }, column.title + arrow);
  button.addEventListener("click", () => {
    order.falling = sorted && !order.falling;
    order.column = column.key;
    drawTable(shownRows());
    [...element("table").querySelectorAll("thead button")].find((made) => made.dataset.column === column.key).focus();
  });
  const direction = sorted ? (order.falling ? "descending" : "ascending") : "none";
  return make("th", { scope: "col", "aria-sort": direction }, button);
}

function line(row, shown) {
  const index = test().train_index[row];
  const button = make("button", { type: "button" }, String(index));
  button.addEventListener("click", () => point(index));
  const made = make("tr", { "data-index": index }, make("th", { scope: "row" }, button));
  for (const column of shown.slice(1)) made.append(make("td", {}, column.text(column.value(row))));
  return made;
}

function drawTable(shown) {
  if (!element("behind").open) return;
  const all = columns();
  const by = all.find((column) => column.key === order.column) ?? all[2];
  const { index, train_index: indices } = test();
  const rows = shown.filter((row) => !choice.selected.size || choice.selected.has(indices[row]));
  rows.sort((a, b) => ((by.value(a) ?? Infinity) - (by.value(b) ?? Infinity)) * (order.falling ? -1 : 1));
  const caption = make("caption", {}, `${rows.length} points of test point ${index}; changes of the test loss`);
  const head = make("thead", {}, make("tr", {}, ...all.map(heading)));
  element("table").replaceChildren(caption, head, make("tbody", {}, ...rows.map((row) => line(row, all))));
  markCurrent();
}

function markCurrent() {
  for (const row of element("table").querySelectorAll("tbody tr[aria-current]")) row.removeAttribute("aria-current");
  element("table").querySelector(`tbody tr[data-index="${choice.current}"]`)?.setAttribute("aria-current", "true");
}
