// Which points the choices leave: rows of the chosen test point.
const test = () => data.tests[choice.test];
const chosenMethods = () => data.methods.filter((method) => choice.methods.has(method.name));

function passes(row) {
  const { label, actual } = test();
  if (!choice.classes.has(label[row])) return false;
  return choice.sign === "both" || (choice.sign === "helpful" ? actual[row] > 0 : actual[row] < 0);
}

const has = (method, row) => test().predictions[method.name].has[row];

// Rows of points that any chosen method has, those the filters leave, in the order of their actual change.
function candidates() {
  const methods = chosenMethods();
  return test().train_index.map((_, row) => row).filter((row) => methods.some((method) => has(method, row)));
}

function shownRows() {
  const { actual } = test();
  return candidates().filter(passes).sort((a, b) => (actual[a] ?? 0) - (actual[b] ?? 0));
}

const rowOf = (index) => test().train_index.indexOf(index);

function describe(row) {
  const point = test();
  const words = [`training point ${point.train_index[row]}, class ${point.label[row]}`];
  words.push(`actual ${number(point.actual[row])} ± ${number(point.certificate[row], 2)}`);
  for (const method of chosenMethods()) {
    if (!has(method, row)) continue;
    const { change, stderr } = point.predictions[method.name];
    words.push(`${method.name} ${number(change[row])}${stderr[row] ? ` ± ${number(stderr[row], 2)}` : ""}`);
  }
  return words.join(", ");
}
