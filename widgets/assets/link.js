// Linked figures: pointing at a place lights up what lies there in every linked figure; a click pins it, Esc releases. No request.
(() => {
  "use strict";
  const { everyNode } = window.labFrame;
  const SVG = "http://www.w3.org/2000/svg";
  let pinned = null, lit = [];

  const linksOf = (plot) => (plot._fullLayout && plot.layout && plot.layout.meta && plot.layout.meta.links) || null;
  const linked = () => [...everyNode(document)].filter((node) => node.classList.contains("js-plotly-plot") && linksOf(node));
  const near = (a, b) => Math.abs(a - b) <= 1e-9 * Math.max(1, Math.abs(a), Math.abs(b));

  // The keys that lie at a place of a figure.
  const keysAt = (plot, point) => {
    const links = linksOf(plot);
    if (!links || !point || !point.xaxis) return [];
    return Object.keys(links).filter((key) => links[key].some((part) => part.marked && part.axes[0] === point.xaxis._id
      && part.axes[1] === point.yaxis._id && part.points.some(([x, y]) => near(x, point.x) && near(y, point.y))));
  };

  const layer = (plot) => {
    const holder = plot.querySelector(".svg-container");
    if (!holder) return null;
    let found = holder.querySelector(":scope > .lab-lit");
    if (!found) {
      found = document.createElementNS(SVG, "svg");
      found.setAttribute("class", "lab-lit");
      found.setAttribute("aria-hidden", "true");
      found.style.cssText = "position:absolute;left:0;top:0;width:100%;height:100%;pointer-events:none;overflow:hidden";
      holder.append(found);
    }
    return found;
  };

  const draw = (plot) => {
    const place = layer(plot);
    if (!place) return;
    place.replaceChildren();
    const links = linksOf(plot), layout = plot._fullLayout;
    const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink") || "#000";
    for (const key of lit) for (const part of (links && links[key]) || []) {
      const name = (letter, id) => layout[`${letter}axis${id.slice(1)}`];
      const x = name("x", part.axes[0]), y = name("y", part.axes[1]);
      if (!x || !y || !x.c2p) continue;
      const at = part.points.map(([a, b]) => [x._offset + x.d2p(a), y._offset + y.d2p(b)]);
      const within = ([a, b]) => a >= x._offset - 2 && a <= x._offset + x._length + 2 && b >= y._offset - 2 && b <= y._offset + y._length + 2;
      if (part.joined && at.length > 1) for (const [stroke, width] of [[ink, 7], ["#E69F00", 4]]) {
        const line = document.createElementNS(SVG, "polyline");
        line.setAttribute("points", at.map((pair) => pair.map((value) => value.toFixed(1)).join(",")).join(" "));
        line.setAttribute("style", `fill:none;stroke:${stroke};stroke-width:${part.marked ? width : width - 2.5};stroke-linejoin:round;stroke-linecap:round`);
        place.append(line);
      }
      if (part.marked) for (const pair of at.filter(within)) {
        const ring = document.createElementNS(SVG, "circle");
        ring.setAttribute("cx", pair[0]); ring.setAttribute("cy", pair[1]); ring.setAttribute("r", 8);
        ring.setAttribute("style", `fill:none;stroke:${ink};stroke-width:2.5`);
        place.append(ring);
      }
    }
    place.dataset.keys = lit.filter((key) => links && links[key]).join(" ");
  };

  const light = (keys) => {
    if (keys.join() === lit.join()) return;
    lit = keys;
    linked().forEach(draw);
  };

  const follow = (plot) => {
    plot.dataset.linked = "yes";
    plot.on("plotly_hover", (event) => { if (pinned === null) light(keysAt(plot, event.points[0])); });
    plot.on("plotly_click", (event) => {
      const keys = keysAt(plot, event.points[0]);
      pinned = !keys.length || (pinned !== null && pinned.join() === keys.join()) ? null : keys;
      light(keys.length ? keys : []);
    });
    plot.on("plotly_afterplot", () => draw(plot));
    plot.on("plotly_relayout", () => draw(plot));
    // a figure drawn anew under a resting pointer says that the pointer has left, which it has not
    plot.addEventListener("mouseleave", () => { if (pinned === null) light([]); });
    plot.addEventListener("mousemove", (event) => {
      const hovered = plot._hoverdata && plot._hoverdata.length;
      if (pinned === null && lit.length && !hovered && !event.buttons) light([]);
    });
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && (pinned !== null || lit.length)) { pinned = null; light([]); }
  });
  const look = () => {
    const found = linked();
    found.filter((plot) => !plot.dataset.linked && plot.on).forEach(follow);
    setTimeout(look, found.length ? 3000 : 1000);
  };
  look();
})();
