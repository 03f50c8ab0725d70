// Replaces each static picture by its interactive twin; if that fails, the static one stays.
(() => {
  const options = {
    mode: "vega-lite",
    renderer: "svg",
    actions: false,
    ast: true, // an interpreter instead of eval, which the page's policy forbids
    defaultStyle: false,
    tooltip: { disableDefaultStyle: true },
  };
  for (const chart of document.querySelectorAll(".fl-chart[data-spec]")) {
    const spec = JSON.parse(document.getElementById(chart.dataset.spec).textContent);
    chart.classList.add("fl-is-live");
    vegaEmbed(chart.querySelector(".fl-live"), spec, options).catch((error) => {
      chart.classList.remove("fl-is-live");
      console.error(error);
    });
  }
})();
