// What the page knows: the data it came with, and what the reader has chosen. All that is shown follows from these.
const data = JSON.parse(document.getElementById("figure-data").textContent);
const traces = JSON.parse(document.getElementById("trace-data").textContent);
const SYMBOLS = ["circle", "diamond", "square", "triangle-up", "cross", "star", "x"];

const choice = {
  test: 0,
  methods: new Set([data.methods[0].name]),
  classes: new Set(data.classes),
  sign: "both",
  limits: "data",
  identity: true,
  current: null, // the training index in the card
  selected: new Set(), // training indices
};

const element = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// So many digits, a true minus, and powers of ten far from 1; a dash where there is no number.
function number(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size < 1e-3 || size >= 1e5 ? value.toExponential(digits - 1) : value.toPrecision(digits);
  return text.replaceAll("-", "−").replace("e+", "e");
}

// As many digits as the uncertainty leaves meaning to, and one more; three at least.
function known(value, uncertainty) {
  if (!value || !uncertainty) return number(value);
  const digits = Math.floor(Math.log10(Math.abs(value))) - Math.floor(Math.log10(uncertainty)) + 2;
  return number(value, Math.min(9, Math.max(3, digits)));
}

// A colour of the style sheet as it is now, in the light or in the dark.
const probe = document.body.appendChild(make("span", { hidden: "" }));
function colour(name) {
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}
const methodColour = (index) => colour(`--method-${index % SYMBOLS.length}`);

// Plotly reads tags in its texts, links among them, and mathematics between dollars; names are only text.
function verbatim(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll("$", "&#36;");
}
