// Replaces each static picture by its interactive twin; if that fails, the static one stays.
(() => {
  if (typeof vegaEmbed === "undefined") return; // a page that left its gallery
  const options = {
    mode: "vega-lite",
    renderer: "svg",
    actions: false,
    ast: true, // an interpreter instead of eval, which the page's policy forbids
    defaultStyle: false,
    tooltip: { disableDefaultStyle: true },
  };
  // The labels of a key bring their series out, one at a time; again, and all are back.
  const choosing = (id, view) => {
    const buttons = [...document.querySelectorAll(".fl-choose")].filter(
      (button) => button.dataset.chart === id,
    );
    for (const button of buttons) {
      button.addEventListener("click", () => {
        const pressed = button.getAttribute("aria-pressed") !== "true";
        for (const other of buttons) {
          other.setAttribute("aria-pressed", String(pressed && other === button));
        }
        view.signal("chosen", pressed ? button.dataset.series : "").runAsync();
      });
    }
  };
  for (const chart of document.querySelectorAll(".fl-chart[data-spec]")) {
    const spec = JSON.parse(document.getElementById(chart.dataset.spec).textContent);
    chart.classList.add("fl-is-live");
    vegaEmbed(chart.querySelector(".fl-live"), spec, options)
      .then((drawn) => choosing(chart.dataset.spec, drawn.view))
      .catch((error) => {
        chart.classList.remove("fl-is-live");
        console.error(error);
      });
  }
})();
