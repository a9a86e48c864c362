"use strict";
// Tooltips with values and nodes, enlarged figures, tables that can be sorted: the page reads the same without them.
(() => {
  const tip = document.getElementById("tip");
  const show = (text, x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - box.width - 4)) + "px";
    tip.style.top = (y + 18 + box.height > innerHeight ? y - box.height - 10 : y + 18) + "px";
  };
  const hide = () => { tip.hidden = true; };

  document.querySelectorAll("data[data-uuid], span[data-uuid]").forEach((cell) => {
    cell.addEventListener("pointermove", (event) => {
      const exact = cell.dataset.exact ? cell.dataset.exact + "\n" : "";
      const at = cell.dataset.at ? "\nat " + cell.dataset.at : "";
      show(exact + "node " + cell.dataset.uuid + at, event.clientX, event.clientY);
    });
    cell.addEventListener("pointerleave", hide);
  });

  const NEAR = 16;
  const follow = (plot, points, uuids) => {
    const ring = document.createElement("div");
    ring.className = "ring";
    ring.hidden = true;
    plot.append(ring);
    plot.addEventListener("pointermove", (event) => {
      const box = plot.querySelector("svg").getBoundingClientRect();
      const outer = plot.getBoundingClientRect();
      let best = null, least = NEAR * NEAR;
      for (const point of points) {
        const dx = box.left + point[0] * box.width - event.clientX;
        const dy = box.top + point[1] * box.height - event.clientY;
        const away = dx * dx + dy * dy;
        if (away < least) { least = away; best = point; }
      }
      ring.hidden = !best;
      if (!best) { hide(); return; }
      ring.style.left = box.left - outer.left + plot.scrollLeft + best[0] * box.width + "px";
      ring.style.top = box.top - outer.top + best[1] * box.height + "px";
      const more = uuids.length > 1 ? " and " + (uuids.length - 1) + " more" : "";
      show(best[2] + (uuids.length ? "\nnode " + uuids[0] + more : ""), event.clientX, event.clientY);
    });
    plot.addEventListener("pointerleave", () => { ring.hidden = true; hide(); });
  };

  const dialog = document.getElementById("zoom");
  document.querySelectorAll("figure.picture").forEach((figure) => {
    const plot = figure.querySelector(".plot");
    const points = JSON.parse(figure.querySelector("script.points").textContent);
    const uuids = figure.dataset.uuid.split(" ").filter(Boolean);
    follow(plot, points, uuids);
    plot.tabIndex = 0;
    const open = () => {
      const copy = plot.querySelector("svg").cloneNode(true);
      const frame = document.createElement("div");
      frame.className = "large";
      frame.append(copy);
      dialog.querySelector(".large").replaceWith(frame);
      follow(frame, points, uuids);
      hide();
      dialog.showModal();
    };
    plot.addEventListener("click", open);
    plot.addEventListener("keydown", (event) => { if (event.key === "Enter") open(); });
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  document.querySelectorAll("table.sortable").forEach((table) => {
    const body = table.tBodies[0];
    const order = [...body.rows];
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const next = now === "ascending" ? "descending" : now === "descending" ? null : "ascending";
        [...head.parentNode.cells].forEach((other) => other.removeAttribute("aria-sort"));
        if (next) head.setAttribute("aria-sort", next);
        const key = (row) => row.cells[column].dataset.sort;
        const compare = (one, two) => {
          const a = key(one), b = key(two), x = parseFloat(a), y = parseFloat(b);
          if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
          return (Number.isNaN(x) ? a.localeCompare(b) : x - y) * (next === "descending" ? -1 : 1);
        };
        body.append(...(next ? [...order].sort(compare) : order));
      });
    });
  });
})();
