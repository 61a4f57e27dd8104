// The menu 'Take it with you': figures, data, the page as one file, the Python of its state, how to cite it.
(() => {
  "use strict";
  const menu = document.querySelector(".lab-take");
  const status = menu.querySelector("p");
  const { save, rows, fileName, plots, everyNode } = window.labFrame;
  const pause = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });
  const page = menu.dataset.page;

  const pictures = async (format) => {
    for (const plot of plots()) {
      await window.Plotly.downloadImage(plot, { format, filename: fileName(plot), scale: format === "png" ? 2 : 1,
        width: plot.clientWidth, height: plot.clientHeight });
      await pause(250);
    }
  };

  // The data of all figures, each row with the name of its figure; a figure alone is saved from its own bar.
  const data = () => {
    const lines = ["figure,trace,x,y,z,text"];
    for (const plot of plots()) {
      const name = fileName(plot);
      for (const line of rows(plot).trimEnd().split("\n").slice(1)) lines.push(`${name},${line}`);
    }
    save(`${page}.csv`, "text/csv", `${lines.join("\n")}\n`);
  };

  const find = (name) => [...everyNode(document)].find((node) => node.classList.contains(name) && node.checkVisibility());
  // The words of a part of the page, without what only the live page can do.
  const words = (name) => {
    const host = find(name);
    if (!host) return "";
    const copy = document.createElement("div");
    for (const node of (host.shadowRoot || host).children) if (!/^(STYLE|LINK)$/.test(node.tagName)) copy.append(node.cloneNode(true));
    copy.querySelectorAll("button, script, style, link, .lab-hidden, .lab-measuring").forEach((node) => node.remove());
    copy.querySelectorAll("a").forEach((node) => node.replaceWith(...node.childNodes));
    return copy.innerHTML;
  };
  const tables = () => [...everyNode(document)].filter((node) => node.classList.contains("lab-table") && node.checkVisibility())
    .map((node) => node.outerHTML).join("\n");
  const text = (figure) => JSON.stringify(figure, (_, value) => (ArrayBuffer.isView(value) ? Array.from(value) : value))
    .replaceAll("<", "\\u003c").replaceAll("\u2028", "\\u2028");

  const whole = async () => {
    const [library, look, parts] = await Promise.all(["static/extensions/plotly/plotly.min.js", "assets/lab.css", "assets/widgets.css"]
      .map(async (address) => (await fetch(address)).text()));
    const figures = plots().map((plot) => ({ data: plot.data, layout: { ...plot.layout, width: undefined, autosize: true },
      height: plot.clientHeight }));
    const places = figures.map((figure, i) => `<div id="figure-${i}" style="height:${figure.height}px"></div>`).join("\n");
    const draw = figures.map((figure, i) => `Plotly.newPlot("figure-${i}", ${text(figure.data)}, ${text(figure.layout)}, {responsive: true, displaylogo: false});`);
    save(`${page}.html`, "text/html", `<!DOCTYPE html>
<html lang="en" data-theme="${document.documentElement.dataset.theme}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>${document.title.replaceAll("<", "&lt;")}</title>
<style>${look}\n${parts}\nmain { max-width: 1000px; margin: 0 auto; padding: 24px; }</style>
<script>${library.replaceAll("</script", "<\\/script")}</script></head>
<body><main>${words("lab-head")}${words("lab-summary")}${places}${tables()}${words("lab-note")}${words("lab-foot")}
<p><small>Saved from Objective Lab at ${location.pathname.split("/").pop()}${location.search.replaceAll("&", "&amp;").replaceAll("<", "&lt;")}</small></p></main>
<script>${draw.join("\n")}</script></body></html>`);
  };

  const told = async (kind, ending) => {
    const state = new URLSearchParams(location.search);
    const answer = await fetch(`take?_kind=${kind}&_page=${encodeURIComponent(page)}&${state}`);
    if (!answer.ok) throw new Error(answer.statusText);
    save(`${page}.${ending}`, "text/plain", await answer.text());
  };

  const ways = { png: () => pictures("png"), svg: () => pictures("svg"), csv: data, html: whole,
    python: () => told("python", "py"), bibtex: () => told("bibtex", "bib") };

  menu.addEventListener("click", async (event) => {
    const kind = event.target.dataset && event.target.dataset.take;
    if (!kind) return;
    if (["png", "svg", "csv", "html"].includes(kind) && !plots().length) { status.textContent = "The figures are still loading."; return; }
    status.textContent = "Saving …";
    try {
      await ways[kind]();
      status.textContent = "Saved.";
    } catch (error) {
      status.textContent = `Not saved: ${error.message}`;
    }
  });
  const close = () => { menu.open = false; status.textContent = ""; };
  document.addEventListener("click", (event) => { if (!event.composedPath().includes(menu)) close(); });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && menu.open) { close(); menu.querySelector("summary").focus(); } });
})();
