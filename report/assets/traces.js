// How the iterations went, each on a logarithmic axis.
function drawTraces() {
  traces.forEach((trace, place) => {
    const axis = { color: colour("--text"), gridcolor: colour("--grid"), zeroline: false };
    const lines = Object.entries(trace.lines).map(([name, pairs], index) => ({
      type: "scatter",
      mode: pairs.length < 20 ? "lines+markers" : "lines",
      name: verbatim(name),
      x: pairs.map(([step]) => step),
      y: pairs.map(([, value]) => value),
      line: { color: methodColour(index) },
      hovertemplate: `${trace.step} %{x}: %{y:.2e}<extra></extra>`,
    }));
    Plotly.react(`trace-${place}`, lines, {
      width: element(`trace-${place}`).clientWidth,
      height: 240,
      margin: { l: 62, r: 10, t: 30, b: 40 },
      title: { text: verbatim(trace.title), font: { size: 14 } },
      paper_bgcolor: colour("--ground"),
      plot_bgcolor: colour("--ground"),
      font: { color: colour("--text"), family: "system-ui, sans-serif", size: 11 },
      showlegend: lines.length > 1,
      hoverlabel: { bgcolor: colour("--panel"), font: { color: colour("--text") } },
      xaxis: { ...axis, title: { text: trace.step } },
      yaxis: { ...axis, type: "log", exponentformat: "power", title: { text: verbatim(trace.label) } },
    }, { displayModeBar: false });
  });
}
