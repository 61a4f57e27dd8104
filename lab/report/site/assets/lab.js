/* Theme, figures drawn when they come near, filters, sortable tables and copying. Works from file:// and asks nobody for anything. */
(function () {
  "use strict";
  const root = document.documentElement;
  const dark = {
    "#000000": "#e8e8e8", "black": "#e8e8e8", "#1d2129": "#e6e8ec", "#5c6370": "#a0a7b4", "#e6e8ec": "#343a46", "#ffffff": "#1b1e24", "white": "#1b1e24",
    "#2a3f5f": "#e6e8ec", "#e5ecf6": "#20242b", "#ebf0f8": "#343a46", "#c8d4e3": "#343a46", "#dfe8f3": "#343a46"
  };
  const light = Object.fromEntries([["#e8e8e8", "#000000"], ["#e6e8ec", "#1d2129"], ["#a0a7b4", "#5c6370"], ["#343a46", "#e6e8ec"], ["#1b1e24", "#ffffff"]]);
  const theme = () => root.dataset.theme || "light";
  const isDark = (layout) => {
    const template = (layout.template && layout.template.layout) || {};
    return String(layout.paper_bgcolor || template.paper_bgcolor || "").toLowerCase() === "#1b1e24";
  };

  function recolour(value, table) {
    if (typeof value === "string") return value.length < 8 ? table[value.toLowerCase()] || value : value;
    if (Array.isArray(value)) return value.length > 5000 ? value : value.map((item) => recolour(item, table));
    if (value && typeof value === "object") {
      const found = {};
      for (const key in value) found[key] = key === "colorscale" || key === "z" || key === "bdata" || key === "source" ? value[key] : recolour(value[key], table);
      return found;
    }
    return value;
  }

  function draw(figure) {
    const canvas = figure.querySelector(".canvas");
    const stored = figure.querySelector("script[type='application/json']");
    if (!stored || !window.Plotly) return;
    let plot = JSON.parse(stored.textContent);
    const own = isDark(plot.layout) ? "dark" : "light";
    if (theme() !== own) plot = recolour(plot, theme() === "dark" ? dark : light);
    const layout = Object.assign({}, plot.layout, { autosize: true });
    delete layout.width;
    const background = getComputedStyle(root).getPropertyValue("--raised").trim();
    layout.paper_bgcolor = background;
    const config = Object.assign({ responsive: true, displaylogo: false, showSendToCloud: false }, plot.config, { plotlyServerURL: "" });
    if (root.classList.contains("print") || root.classList.contains("picture")) config.displayModeBar = false;
    if (canvas._context && canvas._context.displayModeBar !== config.displayModeBar) window.Plotly.purge(canvas);
    window.Plotly.react(canvas, plot.data, layout, config);
    figure.dataset.drawn = theme();
  }

  function drawAll() {
    document.querySelectorAll("figure.plot").forEach((figure) => { if (figure.dataset.drawn !== theme()) draw(figure); });
  }

  function watchFigures() {
    const figures = document.querySelectorAll("figure.plot");
    if (!figures.length) return;
    const watcher = new IntersectionObserver((entries) => {
      entries.forEach((entry) => { if (entry.isIntersecting && entry.target.dataset.drawn !== theme()) draw(entry.target); });
    }, { rootMargin: "600px" });
    figures.forEach((figure) => watcher.observe(figure));
    document.addEventListener("themechange", () => figures.forEach((figure) => { if (figure.dataset.drawn) draw(figure); }));
    window.labDrawAll = drawAll;
  }

  /* Paper is light and narrower than a screen: every figure is drawn again for it, and for the screen afterwards. */
  function watchPrint() {
    let before = null;
    const prepare = (kind) => {
      before = theme();
      root.classList.add(kind);
      setTheme("light", false);
      document.querySelectorAll("figure.plot").forEach(draw);
    };
    addEventListener("beforeprint", () => { if (!root.classList.contains("print")) prepare("print"); });
    addEventListener("afterprint", () => {
      if (before === null || location.hash === "#print") return;
      root.classList.remove("print");
      setTheme(before, false);
      document.querySelectorAll("figure.plot").forEach(draw);
    });
    const kind = { "#print": "print", "#picture": "picture" }[location.hash];
    if (!kind) return;
    addEventListener("load", () => {
      prepare(kind);
      setTimeout(() => {
        const figures = [...document.querySelectorAll("figure.plot .canvas")].map((canvas) => { const box = canvas.getBoundingClientRect(); return [box.left + scrollX + 1, box.top + scrollY + 1, box.width - 2, box.height - 2].map(Math.round); });
        root.dataset.measures = JSON.stringify({ height: Math.ceil(document.body.getBoundingClientRect().height), figures });
      }, 500);
    });
  }

  function setTheme(name, keep) {
    root.dataset.theme = name;
    const button = document.getElementById("theme");
    if (button) { button.textContent = name === "dark" ? "Light" : "Dark"; button.setAttribute("aria-label", "Switch to the " + (name === "dark" ? "light" : "dark") + " theme"); }
    if (keep) { try { localStorage.setItem("lab-theme", name); } catch (error) { /* a private window keeps nothing */ } }
    document.dispatchEvent(new Event("themechange"));
  }

  function watchTheme() {
    setTheme(theme(), false);
    const button = document.getElementById("theme");
    if (button) button.addEventListener("click", () => setTheme(theme() === "dark" ? "light" : "dark", true));
  }

  function watchFilters() {
    const found = document.querySelector(".filter input[type='search']"), bar = found && found.closest(".filter");
    if (!bar || document.getElementById("run-table")) return;
    const input = bar.querySelector("input"), chips = [...bar.querySelectorAll(".chip")], items = [...document.querySelectorAll("[data-words]")];
    const apply = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      const groups = {};
      chips.filter((chip) => chip.getAttribute("aria-pressed") === "true").forEach((chip) => (groups[chip.dataset.key] = groups[chip.dataset.key] || []).push(chip.dataset.value));
      items.forEach((item) => {
        const fits = words.every((word) => item.dataset.words.includes(word)) && Object.keys(groups).every((key) => groups[key].includes(item.dataset[key]));
        item.classList.toggle("hidden", !fits);
      });
      document.querySelectorAll("[data-group]").forEach((group) => group.classList.toggle("hidden", !group.querySelector("[data-words]:not(.hidden)")));
      const count = document.getElementById("count");
      if (count) count.textContent = items.filter((item) => !item.classList.contains("hidden")).length + " of " + items.length;
    };
    input.addEventListener("input", apply);
    chips.forEach((chip) => chip.addEventListener("click", () => { chip.setAttribute("aria-pressed", chip.getAttribute("aria-pressed") !== "true"); apply(); }));
    apply();
  }

  /* The table of all runs: rows are data, one screen of them is in the page. */
  function watchRuns() {
    const table = document.getElementById("run-table");
    if (!table) return;
    const data = JSON.parse(document.getElementById("run-data").textContent), body = table.querySelector("tbody"), size = 100;
    const input = document.querySelector(".filter input"), status = document.querySelector(".filter select"), pager = document.querySelector(".pager");
    let shown = data.rows, page = 0, order = null;
    data.rows.forEach((row) => { row.words = [row.id, row.notebook, row.title, row.status, row.given, row.metrics].join(" ").toLowerCase(); });
    const cell = (row, text, kind) => { const made = row.insertCell(); made.textContent = text; if (kind) made.className = kind; return made; };
    const paint = () => {
      body.replaceChildren();
      shown.slice(page * size, (page + 1) * size).forEach((item) => {
        const row = body.insertRow();
        const mark = document.createElement("span");
        mark.className = "status " + (item.status === "ok" ? "good" : "bad"); mark.textContent = item.status;
        row.insertCell().append(mark);
        const link = document.createElement(item.page ? "a" : "span");
        link.textContent = item.title; if (item.page) link.href = item.page;
        const id = document.createElement("div"); id.className = "small"; id.textContent = item.id;
        row.insertCell().append(link, id);
        cell(row, item.given); cell(row, item.metrics); cell(row, item.seconds.toFixed(1), "number"); cell(row, item.started.slice(0, 16).replace("T", " "));
      });
      const pages = Math.max(1, Math.ceil(shown.length / size));
      pager.querySelector("span").textContent = shown.length + " runs, page " + (page + 1) + " of " + pages;
      pager.querySelector("[data-step='-1']").disabled = page === 0;
      pager.querySelector("[data-step='1']").disabled = page >= pages - 1;
    };
    const apply = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      shown = data.rows.filter((row) => (!status.value || row.status === status.value) && words.every((word) => row.words.includes(word)));
      if (order) shown.sort((a, b) => (a[order.key] > b[order.key] ? 1 : a[order.key] < b[order.key] ? -1 : 0) * order.sign);
      page = 0; paint();
    };
    input.addEventListener("input", apply); status.addEventListener("change", apply);
    pager.querySelectorAll("button").forEach((button) => button.addEventListener("click", () => { page += Number(button.dataset.step); paint(); }));
    table.querySelectorAll("th[data-sort]").forEach((head) => head.addEventListener("click", () => {
      order = { key: head.dataset.sort, sign: order && order.key === head.dataset.sort ? -order.sign : 1 }; apply();
    }));
    apply();
  }

  function watchTables() {
    document.querySelectorAll("table.sortable").forEach((table) => table.querySelectorAll("th").forEach((head, column) => {
      head.dataset.sort = ""; let sign = 1;
      head.addEventListener("click", () => {
        const rows = [...table.tBodies[0].rows], key = (row) => { const text = row.cells[column].textContent; const value = parseFloat(text); return isNaN(value) ? text : value; };
        rows.sort((a, b) => (key(a) > key(b) ? sign : -sign)); sign = -sign; table.tBodies[0].append(...rows);
      });
    }));
  }

  /* Two chosen runs side by side: parameters and metrics that differ first. */
  function watchDiff() {
    const place = document.getElementById("diff");
    if (!place) return;
    const data = JSON.parse(document.getElementById("diff-data").textContent), boxes = [...place.querySelectorAll("select")], body = place.querySelector("tbody");
    const paint = () => {
      const [a, b] = boxes.map((box) => data[box.value]); body.replaceChildren();
      const names = [...new Set([...Object.keys(a), ...Object.keys(b)])];
      names.map((name) => [name, a[name], b[name]]).sort((x, y) => (x[1] === y[1]) - (y[1] === y[1] && x[1] === y[1]) || ((x[1] === x[2]) - (y[1] === y[2]))).forEach(([name, left, right]) => {
        const row = body.insertRow(); if (left !== right) row.className = "differs";
        [name, left === undefined ? "" : left, right === undefined ? "" : right].forEach((text) => { row.insertCell().textContent = text; });
        const change = row.insertCell(); change.className = "number";
        if (typeof left === "number" && typeof right === "number" && left !== right) change.textContent = (right - left > 0 ? "+" : "") + (right - left).toPrecision(3);
      });
    };
    boxes.forEach((box) => box.addEventListener("change", paint)); paint();
  }

  function watchCopies() {
    document.querySelectorAll("button[data-copy]").forEach((button) => button.addEventListener("click", () => {
      const done = () => { const text = button.textContent; button.textContent = "Copied"; setTimeout(() => { button.textContent = text; }, 1200); };
      const area = document.createElement("textarea"); area.value = button.dataset.copy; document.body.append(area); area.select();
      try { document.execCommand("copy"); done(); } finally { area.remove(); }
    }));
    const all = document.getElementById("all-code");
    if (all) all.addEventListener("click", () => {
      const folds = [...document.querySelectorAll("details.code")], open = folds.some((fold) => !fold.open);
      folds.forEach((fold) => { fold.open = open; }); all.textContent = open ? "Hide code" : "Show code";
    });
  }

  function watchContents() {
    const links = [...document.querySelectorAll("aside.toc a")];
    if (!links.length) return;
    const mark = () => {
      const places = links.map((link) => document.getElementById(link.hash.slice(1))).map((head) => (head ? head.getBoundingClientRect().top : 1e9));
      const here = places.reduce((best, top, index) => (top < 140 ? index : best), 0);
      links.forEach((link, index) => link.classList.toggle("here", index === here));
    };
    addEventListener("scroll", mark, { passive: true }); mark();
  }

  document.addEventListener("DOMContentLoaded", () => { watchTheme(); watchFigures(); watchPrint(); watchFilters(); watchRuns(); watchTables(); watchDiff(); watchCopies(); watchContents(); });
})();
