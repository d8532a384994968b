// The card of one point, and the list of the selected ones.
const hint = element("card-hint");
const MOST_PICTURES = 60;

function picture(index, size) {
  const uri = data.images[index];
  const label = test().label[rowOf(index)];
  return uri ? [make("img", { src: uri, width: size, height: size, alt: `Training ${data.noun} ${index}, of class ${label}` })] : [];
}

function facts(row) {
  const point = test();
  const list = make("dl");
  const add = (name, value) => list.append(make("dt", {}, name), make("dd", {}, value));
  add("class", String(point.label[row]));
  add("actual", known(point.actual[row], point.certificate[row]));
  add("± certificate", number(point.certificate[row], 2));
  for (const method of data.methods) {
    if (!has(method, row)) continue;
    const { change, stderr } = point.predictions[method.name];
    add(method.name, number(change[row]));
    if (stderr[row]) add("± standard error", number(stderr[row], 2));
  }
  return list;
}

function selectButton(index) {
  const chosen = choice.selected.has(index);
  const button = make("button", { type: "button", "aria-pressed": String(chosen) }, chosen ? "Unselect" : "Select");
  button.addEventListener("click", () => {
    if (!choice.selected.delete(index)) choice.selected.add(index);
    render();
    element("card").querySelector("button").focus();
  });
  return button;
}

function showCard() {
  const index = choice.current;
  const row = index === null ? -1 : rowOf(index);
  const card = element("card");
  if (row < 0) {
    delete card.dataset.index;
    card.replaceChildren(hint);
    return;
  }
  card.dataset.index = index;
  const title = make("h3", {}, `Training ${data.noun} ${index}`);
  card.replaceChildren(...picture(index, 140), title, make("p", {}, EFFECTS[effect(row)]), facts(row), selectButton(index));
}

function showSelection() {
  const { actual, label } = test();
  const chosen = [...choice.selected];
  chosen.sort((a, b) => Math.abs(actual[rowOf(b)]) - Math.abs(actual[rowOf(a)]));
  element("selection").hidden = !chosen.length;
  const more = chosen.length > MOST_PICTURES ? `, of which ${MOST_PICTURES} are shown` : "";
  element("selected-count").textContent = `${chosen.length} points, the strongest first${more}.`;
  element("selected-list").replaceChildren(...chosen.slice(0, MOST_PICTURES).map((index) => {
    const row = rowOf(index);
    const change = make("b", {}, number(actual[row]));
    const caption = make("figcaption", {}, change, make("br"), `class ${label[row]}`, make("br"), `#${index}`);
    return make("li", {}, make("figure", {}, ...picture(index, 56), caption));
  }));
}
