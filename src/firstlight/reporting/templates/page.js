// What the page can do beyond being read: charts that answer, layers to choose, cures to copy,
// a plan to filter. Without scripts all of it stays readable. Texts are set as text, never as markup.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const parsed = (id) => JSON.parse(document.getElementById(id).textContent);

  // Cures: copied without a network; where the browser forbids it, selected to be copied by hand.
  const select = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  };
  const byHand = (code) => {
    select(code);
    return document.execCommand("copy");
  };
  for (const button of all(".fl-copy")) {
    const code = button.parentElement.querySelector("code");
    const word = button.firstChild;
    button.hidden = false;
    button.addEventListener("click", async () => {
      let done = true;
      try {
        await navigator.clipboard.writeText(code.textContent);
      } catch {
        done = byHand(code);
      }
      word.data = done ? "Copied" : "Selected";
      setTimeout(() => { word.data = "Copy"; }, 2000);
    });
  }

  // A plan: rows that hold all the words, in any column.
  for (const field of all(".fl-find")) {
    const rows = all("tbody tr", document.getElementById(field.dataset.filter));
    const said = rows.map((row) =>
      `${row.textContent} ${row.dataset.also || ""}`.toLowerCase(),
    );
    const told = field.querySelector("[role=status]");
    const input = field.querySelector("input");
    field.hidden = false;
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      rows.forEach((row, i) => {
        row.hidden = !words.every((word) => said[i].includes(word));
        count += row.hidden ? 0 : 1;
      });
      told.textContent = words.length ? `${count} of ${rows.length} rows` : `${rows.length} rows`;
    });
  }

  if (typeof vegaEmbed === "undefined") return; // no charts, or a page that left its gallery
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
    const buttons = all(".fl-choose").filter((button) => button.dataset.chart === id);
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

  // Each static picture gives way to its interactive twin; if that fails, the static one stays.
  const drawn = new Map();
  for (const chart of all(".fl-chart[data-spec]")) {
    const id = chart.dataset.spec;
    const spec = parsed(id);
    chart.classList.add("fl-is-live");
    const drawing = vegaEmbed(chart.querySelector(".fl-live"), spec, options).then((result) => {
      choosing(id, result.view);
      return { chart, view: result.view, table: Object.keys(spec.datasets || {})[0] };
    });
    drawing.catch((error) => {
      chart.classList.remove("fl-is-live");
      console.error(error);
    });
    drawn.set(id, drawing);
  }

  // A layer up close: four charts whose rows are those of the layer that is chosen.
  const rowsOf = (columns, places, more) =>
    (columns.y || []).map((_, i) => {
      const row = { ...more };
      for (const [name, values] of Object.entries({ ...places, ...columns })) row[name] = values[i];
      return row;
    });
  for (const box of all(".fl-layers[data-layers]")) {
    const id = box.dataset.layers;
    const told = parsed(id);
    const choice = box.querySelector("select");
    const steps = all("button[data-step]", box);
    const show = (index) => {
      choice.value = String(index);
      for (const button of steps) {
        const to = index + Number(button.dataset.step);
        button.setAttribute("aria-disabled", String(to < 0 || to >= told.names.length));
      }
      box.querySelector(".fl-layer-name").textContent = told.names[index];
      box.querySelector(".fl-facts").replaceChildren(
        ...told.facts[index].map((fact) => {
          const line = document.createElement("p");
          line.textContent = fact;
          return line;
        }),
      );
      told.panels.forEach(async ({ places, layers }, panel) => {
        const { chart, view, table } = await drawn.get(`${id}-${panel + 1}`);
        const rows = layers[index].flatMap((columns, i) => rowsOf(columns, places, told.series[i]));
        const heading = chart.parentElement.querySelector("h4").textContent;
        const said = [`${heading} at ${told.names[index]}.`, ...told.facts[index]].join(" ");
        chart.setAttribute("aria-label", said);
        await view.data(table, rows).runAsync();
      });
    };
    choice.addEventListener("change", () => show(Number(choice.value)));
    for (const button of steps) {
      button.addEventListener("click", () => {
        const to = Number(choice.value) + Number(button.dataset.step);
        if (to >= 0 && to < told.names.length) show(to);
      });
    }
    show(Number(choice.value));
    for (const [name, drawing] of drawn) {
      if (!box.parentElement.contains(document.getElementById(name)) || name.startsWith(id)) continue;
      drawing.then(({ view }) => {
        view.addEventListener("click", (event, item) => {
          const at = item && item.datum && item.datum.x;
          if (typeof at !== "number") return;
          const distances = told.at.map((position) => Math.abs(position - at));
          show(distances.indexOf(Math.min(...distances)));
        });
      });
    }
  }
})();
