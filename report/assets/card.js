// The card of one point, and the list of the selected ones.
function picture(index, size) {
  const uri = data.images[index];
  const label = test().label[rowOf(index)];
  return uri ? [make("img", { src: uri, width: size, height: size, alt: `Training ${data.noun} ${index}, of class ${label}` })] : [];
}

function showPoint(index) {
  choice.current = index;
  const row = rowOf(index);
  const point = test();
  const facts = make("dl");
  const add = (name, value) => facts.append(make("dt", {}, name), make("dd", {}, value));
  add("class", String(point.label[row]));
  add("actual", number(point.actual[row]));
  add("± certificate", number(point.certificate[row], 2));
  for (const method of data.methods) {
    if (!has(method, row)) continue;
    const { change, stderr } = point.predictions[method.name];
    add(method.name, number(change[row]));
    if (stderr[row]) add("± standard error", number(stderr[row], 2));
  }
  const chosen = choice.selected.has(index);
  const button = make("button", { type: "button", "aria-pressed": String(chosen) }, chosen ? "Unselect" : "Select");
  button.addEventListener("click", () => {
    if (!choice.selected.delete(index)) choice.selected.add(index);
    showPoint(index);
    drawFigure();
    showSelection();
    element("card").querySelector("button").focus();
  });
  const effect = point.actual[row] > 0 ? "helpful: without it the loss rises" : "harmful: without it the loss falls";
  const title = make("h3", {}, `Training ${data.noun} ${index}`);
  element("card").replaceChildren(...picture(index, 140), title, make("p", {}, effect), facts, button);
  element("card").dataset.index = index;
  const place = shownRows().indexOf(row);
  if (place >= 0) element("step").value = place;
  element("step").setAttribute("aria-valuetext", describe(row));
}

function showSelection() {
  const chosen = [...choice.selected].filter((index) => rowOf(index) >= 0);
  const { actual } = test();
  chosen.sort((a, b) => Math.abs(actual[rowOf(b)]) - Math.abs(actual[rowOf(a)]));
  element("selection").hidden = !chosen.length;
  element("selected-count").textContent = `${chosen.length} points, the strongest first.`;
  element("selected-list").replaceChildren(...chosen.slice(0, 60).map((index) => {
    const effect = make("b", {}, number(actual[rowOf(index)]));
    const caption = make("figcaption", {}, effect, make("br"), `class ${test().label[rowOf(index)]}`, make("br"), `#${index}`);
    return make("li", {}, make("figure", {}, ...picture(index, 56), caption));
  }));
}
