// The frame's behaviour: light and dark, the link of a view, export of figures, a lost connection. No library, no request.
(() => {
  "use strict";

  // Moving a slider changes the address in place and leaves the browser's history to pages.
  const push = history.pushState.bind(history);
  history.pushState = (state, title, url) => {
    const target = new URL(url, location.href);
    if (target.pathname === location.pathname) history.replaceState(state, title, url);
    else push(state, title, url);
  };

  document.getElementById("lab-theme").addEventListener("click", () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    document.cookie = `lab_theme=${next}; path=/; max-age=31536000; samesite=lax${location.protocol === "https:" ? "; secure" : ""}`;
    const url = new URL(location.href);
    url.searchParams.delete("theme");
    location.replace(url);
  });

  document.getElementById("lab-reload").addEventListener("click", () => location.reload());

  const link = document.getElementById("lab-link");
  link.addEventListener("click", async () => {
    const text = link.textContent;
    const url = new URL(location.href);
    url.searchParams.delete("theme");
    try {
      await navigator.clipboard.writeText(url.href);
      link.textContent = "Copied";
    } catch {
      link.textContent = "Copy it from the address bar";
    }
    setTimeout(() => { link.textContent = text; }, 1600);
  });

  const save = (name, type, text) => {
    const anchor = document.createElement("a");
    anchor.href = URL.createObjectURL(new Blob([text], { type }));
    anchor.download = name;
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(anchor.href), 1000);
  };

  // One row a point: trace, then every coordinate that the trace has. A heatmap gives one row a cell.
  const rows = (plot) => {
    const quote = (value) => {
      let text = value === undefined || value === null ? "" : String(value);
      // a spreadsheet would compute a text that begins like a formula
      if (typeof value === "string" && /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text))) text = `'${text}`;
      return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    const lines = ["trace,x,y,z,text"];
    plot._fullData.forEach((trace, index) => {
      const name = trace.name || `trace ${index}`;
      if (trace.z && trace.z.length && trace.z[0] && trace.z[0].length !== undefined) {
        Array.from(trace.z).forEach((line, i) => Array.from(line).forEach((value, j) => {
          const x = trace.x && trace.x.length > j ? trace.x[j] : j;
          const y = trace.y && trace.y.length > i ? trace.y[i] : i;
          lines.push([name, x, y, value, ""].map(quote).join(","));
        }));
        return;
      }
      const columns = ["x", "y", "z", "text"].map((key) => trace[key]);
      const count = Math.max(0, ...columns.map((column) => (column && typeof column !== "string" && column.length) || 0));
      for (let i = 0; i < count; i += 1) {
        lines.push([name, ...columns.map((column) => (column && typeof column !== "string" ? column[i] : ""))].map(quote).join(","));
      }
    });
    return `${lines.join("\n")}\n`;
  };

  // every figure that is drawn on the page
  const plots = () => [...everyNode(document)].filter((node) => node.classList.contains("js-plotly-plot") && node._fullData
    && node._fullData.length && node.checkVisibility({ visibilityProperty: true }));

  const fileName = (plot) => {
    const title = (plot._fullLayout.title.text || "figure").replace(/<[^>]*>/g, " ");
    return title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 60).toLowerCase() || "figure";
  };

  const letters = (text) => ({
    svg: `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 34 16"><text x="1" y="13" font-size="13" font-weight="700" font-family="system-ui,sans-serif">${text}</text></svg>`,
  });

  // Every figure of the page offers the picture as PNG (plotly's own button), as SVG, and its data as CSV.
  if (window.Plotly) {
    window.Plotly.setPlotConfig({
      modeBarButtonsToAdd: [
        { name: "svg", title: "Save the figure as SVG", icon: letters("SVG"),
          click: (plot) => window.Plotly.downloadImage(plot, { format: "svg", filename: fileName(plot) }) },
        { name: "csv", title: "Save the data as CSV", icon: letters("CSV"),
          click: (plot) => save(`${fileName(plot)}.csv`, "text/csv", rows(plot)) },
      ],
    });
  }

  // A visitor's file goes to the server by a plain post; the page then says what it is, or why it is refused.
  const send = (input, file) => {
    const label = input.closest("label");
    const words = label.querySelector("span");
    const rest = words.textContent;
    const limit = Number(input.dataset.limit);
    const say = (text) => { words.textContent = text; words.setAttribute("role", "status"); };
    if (file.size > limit) {
      say(`${file.name} has ${(file.size / 2 ** 20).toPrecision(3)} MB, more than the limit of ${limit / 2 ** 20} MB`);
      label.classList.add("refused");
      return;
    }
    label.classList.remove("refused");
    const request = new XMLHttpRequest();
    request.open("POST", `upload?token=${encodeURIComponent(input.dataset.labUpload)}`);
    request.setRequestHeader("X-File-Name", encodeURIComponent(file.name));
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => say(`Sending ${Math.round((100 * event.loaded) / event.total)} %`);
    request.onloadend = () => { say(rest); input.value = ""; };
    request.send(file);
  };

  const among = (event, key) => event.composedPath().find((node) => node.dataset && node.dataset[key] !== undefined);

  document.addEventListener("input", (event) => {
    const input = among(event, "labUpload");
    if (input && input.files.length) send(input, input.files[0]);
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      const label = among(event, "labDrop");
      if (!label) return;
      event.preventDefault();
      label.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) send(label.querySelector("input"), event.dataTransfer.files[0]);
    });
  }

  // 'Measure now' of a claim: a job of the server, told of in the claim's own row.
  const follow = async (place, claim, budget) => {
    const tell = (answer) => {
      place.replaceChildren();
      if (answer.state === "running") {
        const bar = document.createElement("progress");
        bar.max = 1; bar.value = answer.share; bar.setAttribute("aria-label", `Progress of ${claim}`);
        const stop = document.createElement("button");
        stop.type = "button"; stop.textContent = "Cancel"; stop.dataset.labCancel = answer.job;
        place.append(bar, stop);
      }
      const words = document.createElement("span");
      words.setAttribute("role", "status"); words.textContent = answer.words;
      place.append(words);
    };
    const again = place.querySelector("button").cloneNode(true);
    const ask = async (address, method = "GET") => {
      const answer = await fetch(address, { method });
      if (!answer.ok && answer.status !== 429) throw new Error(`the server said ${answer.status}`);
      return answer.json();
    };
    let answer = { state: "failed", words: "" };
    try {
      answer = await ask(`measure?claim=${encodeURIComponent(claim)}&budget=${budget}`, "POST");
      const job = answer.job;
      const address = `measure?job=${encodeURIComponent(job)}`;
      place.onclick = async (event) => {
        if (event.target.dataset.labCancel === undefined) return;
        event.stopPropagation();
        answer = await ask(address, "DELETE");
      };
      while (answer.state === "running") {
        tell({ job, ...answer });
        await new Promise((done) => { setTimeout(done, 400); });
        if (answer.state === "running") answer = await ask(address);
      }
    } catch (error) {
      answer = { state: "failed", words: `Not measured: ${error.message}` };
    }
    place.onclick = null;
    if (answer.state === "done") {
      const row = place.closest("li");
      const fresh = document.createElement("template");
      fresh.innerHTML = answer.html;
      const words = fresh.content.querySelector(".lab-measuring");
      if (words) words.insertAdjacentHTML("afterbegin", `<span role="status">${answer.words}</span>`);
      row.replaceWith(fresh.content);
    } else {
      tell(answer);
      place.prepend(again);
    }
  };
  const budgetOf = (node) => {
    const choice = node.getRootNode().querySelector("[data-lab-budget]");
    return choice ? choice.value : "smoke";
  };
  document.addEventListener("click", (event) => {
    const button = among(event, "labMeasure");
    if (button) follow(button.closest(".lab-measuring"), button.dataset.labMeasure, budgetOf(button));
  });
  document.addEventListener("change", (event) => {
    const choice = among(event, "labBudget");
    if (!choice) return;
    for (const button of choice.getRootNode().querySelectorAll("[data-lab-measure]")) {
      const seconds = choice.value === "smoke" ? button.dataset.secondsSmoke : button.dataset.secondsDefault;
      button.textContent = `Measure now (about ${seconds} s)`;
    }
  });

  // The key / leads to the search of the start page, from every page.
  const searchField = () => [...everyNode(document)].find((node) => node.tagName === "INPUT" && node.labels && node.labels.length
    && node.labels[0].textContent.startsWith("Search (press /)"));
  document.addEventListener("keydown", (event) => {
    const node = event.composedPath()[0];
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(node.tagName)) return;
    event.preventDefault();
    const field = searchField();
    if (field) field.focus(); else location.assign("./#search");
  });

  // On a phone the controls beside the main one unfold.
  document.addEventListener("click", (event) => {
    const button = among(event, "labFold");
    const panel = button && event.composedPath().find((node) => node.classList && node.classList.contains("lab-controls"));
    if (!panel) return;
    const open = panel.toggleAttribute("data-open");
    button.setAttribute("aria-expanded", String(open));
    button.textContent = open ? "Fewer controls" : "All controls";
  });

  // Names for what Panel and plotly leave without one: slider handles and figures.
  const everyNode = function* (scope) {
    for (const node of scope.querySelectorAll("*")) {
      yield node;
      if (node.shadowRoot) yield* everyNode(node.shadowRoot);
    }
  };
  const words = {
    "bk-spin-btn-up": "more", "bk-spin-btn-down": "less", slower: "slower", first: "to the start", previous: "one step back",
    reverse: "play backwards", pause: "pause", play: "play", next: "one step on", last: "to the end", faster: "faster",
  };
  // A figure that is drawn anew under a resting pointer forgets that a point is pointed at, and would never tell the page
  // that the pointer has left.
  const watchPointer = (node) => {
    let pointed = false;
    node.on("plotly_hover", () => { pointed = true; });
    node.on("plotly_unhover", () => { pointed = false; });
    node.addEventListener("mouseleave", () => setTimeout(() => { if (pointed) node.emit("plotly_unhover", {}); }, 60));
  };

  // The live page takes the place of the plain one once its figures are drawn, or it says why they are not.
  const takeOver = () => {
    const first = document.querySelector(".lab-first");
    if (!first) return;
    const live = document.querySelector(".lab-live");
    const places = first.querySelectorAll(".lab-place").length;
    const began = performance.now();
    let some = 0;
    const ready = () => {
      if (!window.Bokeh || !window.Bokeh.documents || !window.Bokeh.documents.length || !live.firstElementChild) return false;
      let drawn = 0, hosts = 0, alerts = 0;
      for (const node of everyNode(live)) {
        if (node.getAttribute("role") === "alert") alerts += 1;
        if (!node.classList.contains("js-plotly-plot")) continue;
        hosts += 1;
        if (node._fullData && node._fullData.length && node.querySelector(".main-svg")) drawn += 1;
      }
      const idle = window.Bokeh.documents.every((item) => item.is_idle), now = performance.now();
      if (alerts) return true;
      if (drawn && !some) some = now;
      if (places) return hosts >= places && drawn === hosts || idle && (some ? now - some > 3000 : now - began > 60000);
      return idle && live.getElementsByTagName("*").length > 1;
    };
    const look = () => {
      if (!ready()) { setTimeout(look, 50); return; }
      const top = window.scrollY;
      first.remove();
      if (location.hash === "#search" && searchField()) searchField().focus();
      window.scrollTo(0, top);
      window.dispatchEvent(new Event("resize"));
      name();
    };
    look();
  };
  document.addEventListener("DOMContentLoaded", takeOver);

  const unnamed = (node) => !node.hasAttribute("aria-label") && !(node.labels && node.labels.length);
  const name = () => {
    for (const node of everyNode(document)) {
      if (node.classList.contains("noUi-handle") && !node.hasAttribute("aria-label")) {
        const title = node.getRootNode().querySelector(".bk-slider-title");
        const text = title ? title.textContent.replace(/:[^:]*$/, "").trim() : "";
        node.setAttribute("aria-label", text || "value");
      } else if (node.matches('input[type="checkbox"], input[type="radio"], input[type="range"]') && unnamed(node)) {
        const beside = node.nextElementSibling;
        node.setAttribute("aria-label", (beside && beside.textContent.trim()) || (node.type === "range" ? "position" : "on"));
      } else if (node.tagName === "BUTTON" && unnamed(node) && !node.textContent.trim() && !node.title) {
        node.setAttribute("aria-label", words[node.className.split(" ").pop()] || node.className.split(" ").pop() || "button");
      } else if (node.classList.contains("js-plotly-plot") && node._fullLayout && !node.dataset.named) {
        node.dataset.named = "yes";
        const describe = () => {
          node.setAttribute("role", "figure");
          node.setAttribute("aria-label", (node._fullLayout.title.text || "figure").replace(/<[^>]*>/g, " "));
        };
        describe();
        node.on("plotly_afterplot", describe);
        watchPointer(node);
      }
    }
  };
  for (const delay of [100, 300, 600, 1000, 1500, 2500, 4000, 8000]) setTimeout(name, delay);
  setInterval(() => { if (!document.hidden) name(); }, 5000);
  document.addEventListener("focusin", name);

  window.labFrame = { save, rows, fileName, plots, everyNode };

  // Bokeh says on the document when the server no longer answers.
  document.addEventListener("DOMContentLoaded", () => {
    const lost = document.querySelector(".lab-lost");
    const watch = () => {
      const views = window.Bokeh && window.Bokeh.documents ? window.Bokeh.documents : [];
      if (!views.length) { setTimeout(watch, 200); return; }
      views.forEach((item) => item.on_event && item.on_event("connection_lost", () => { lost.hidden = false; }));
    };
    watch();
  });
})();
