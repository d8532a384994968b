// Which points the choices leave: rows of the chosen test point.
const rowsByIndex = data.tests.map((test) => new Map(test.train_index.map((index, row) => [index, row])));

const test = () => data.tests[choice.test];
const chosenMethods = () => data.methods.filter((method) => choice.methods.has(method.name));
const rowOf = (index) => rowsByIndex[choice.test].get(index) ?? -1;
const has = (method, row) => test().predictions[method.name].has[row];

// What leaving a point out did; an effect no larger than its certificate cannot be told from 0.
function effect(row) {
  const { actual, certificate } = test();
  if (!(Math.abs(actual[row]) > certificate[row])) return "undecided";
  return actual[row] > 0 ? "helpful" : "harmful";
}

const EFFECTS = {
  helpful: "helpful: without it the loss rises",
  harmful: "harmful: without it the loss falls",
  undecided: "its effect is smaller than its certificate and cannot be told from 0",
};

// Rows of points that any chosen method has.
function candidates() {
  const methods = chosenMethods();
  return test().train_index.map((_, row) => row).filter((row) => methods.some((method) => has(method, row)));
}

// Those of them that the filters leave, in the order of their actual change.
function shownRows() {
  const { actual, label } = test();
  return candidates()
    .filter((row) => choice.classes.has(label[row]) && (choice.sign === "both" || choice.sign === effect(row)))
    .sort((a, b) => (actual[a] ?? 0) - (actual[b] ?? 0));
}

function describe(row) {
  const point = test();
  const words = [`training point ${point.train_index[row]}`, `class ${point.label[row]}`];
  words.push(`actual ${known(point.actual[row], point.certificate[row])} ± ${number(point.certificate[row], 2)}`);
  for (const method of chosenMethods()) {
    if (!has(method, row)) continue;
    const { change, stderr } = point.predictions[method.name];
    words.push(`${method.name} ${number(change[row])}${stderr[row] ? ` ± ${number(stderr[row], 2)}` : ""}`);
  }
  return words;
}
