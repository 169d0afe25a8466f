"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const [height, width] = data.shape;
  const swiped = document.getElementById("swiped");
  const panCanvas = document.getElementById("pan");
  const divider = document.getElementById("divider");
  const NEAR = 14; // CSS pixels from the divider within which a drag takes it
  const STILL = 4; // CSS pixels that a click may move
  const MOST = 32; // CSS pixels to a PAN pixel
  const wide = window.matchMedia("(min-width: 761px)");

  // Where the middle of both canvases is, in PAN pixels, and CSS pixels to a PAN pixel.
  const view = { row: height / 2, column: width / 2, zoom: 1 };
  let mark = null; // [row, column] of the spectrum shown

  const pictures = data.views.map((part) => {
    const images = {};
    for (const name of ["pan", "ms", "fused"]) {
      images[name] = new Image();
      images[name].onload = draw;
      images[name].src = part[name];
    }
    return { part, images };
  });

  const fitting = () => Math.min(swiped.clientWidth / width, swiped.clientHeight / height);

  function limit() {
    view.zoom = Math.min(MOST, Math.max(view.zoom, fitting() * 0.5));
    view.row = Math.min(height, Math.max(0, view.row));
    view.column = Math.min(width, Math.max(0, view.column));
  }

  function place(canvas, row, column) {
    return [
      canvas.clientWidth / 2 + (column - view.column) * view.zoom,
      canvas.clientHeight / 2 + (row - view.row) * view.zoom,
    ];
  }

  function pixel(canvas, x, y) {
    return [
      view.row + (y - canvas.clientHeight / 2) / view.zoom,
      view.column + (x - canvas.clientWidth / 2) / view.zoom,
    ];
  }

  function paint(canvas, context, name) {
    for (const { part, images } of pictures) {
      const image = images[name];
      if (!image.complete || !image.naturalWidth) continue;
      const [x, y] = place(canvas, part.top, part.left);
      const shown = (part.width / part.pixels[1]) * view.zoom; // CSS pixels to one of the image's
      context.imageSmoothingEnabled = shown < 1.5;
      context.imageSmoothingQuality = "high";
      context.drawImage(image, x, y, part.width * view.zoom, part.height * view.zoom);
    }
  }

  function frames(canvas, context) {
    context.lineWidth = 1.5;
    for (const { part } of pictures.slice(1)) {
      const [x, y] = place(canvas, part.top, part.left);
      context.strokeStyle = "rgba(0,0,0,.6)";
      context.strokeRect(x - 1, y - 1, part.width * view.zoom + 2, part.height * view.zoom + 2);
      context.strokeStyle = "#ffe082";
      context.strokeRect(x, y, part.width * view.zoom, part.height * view.zoom);
    }
  }

  function cross(canvas, context) {
    if (!mark) return;
    const [x, y] = place(canvas, mark[0] + 0.5, mark[1] + 0.5);
    for (const [style, thick] of [["#000", 4], ["#ffe082", 2]]) {
      context.strokeStyle = style;
      context.lineWidth = thick;
      context.beginPath();
      context.arc(x, y, 7, 0, 2 * Math.PI);
      context.moveTo(x - 14, y); context.lineTo(x - 7, y);
      context.moveTo(x + 7, y); context.lineTo(x + 14, y);
      context.moveTo(x, y - 14); context.lineTo(x, y - 7);
      context.moveTo(x, y + 7); context.lineTo(x, y + 14);
      context.stroke();
    }
  }

  function started(canvas) {
    const dense = window.devicePixelRatio || 1;
    const size = [Math.round(canvas.clientWidth * dense), Math.round(canvas.clientHeight * dense)];
    if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
    const context = canvas.getContext("2d");
    context.setTransform(dense, 0, 0, dense, 0, 0);
    context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    return context;
  }

  const split = () => (divider.value / 1000) * swiped.clientWidth;

  let waiting = false;
  function draw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      drawNow();
    });
  }

  function drawNow() {
    limit();
    const context = started(swiped);
    const at = split();
    for (const [name, from, to] of [["ms", 0, at], ["fused", at, swiped.clientWidth]]) {
      context.save();
      context.beginPath();
      context.rect(from, 0, to - from, swiped.clientHeight);
      context.clip();
      paint(swiped, context, name);
      context.restore();
    }
    frames(swiped, context);
    cross(swiped, context);
    context.fillStyle = "#000";
    context.fillRect(at - 2, 0, 4, swiped.clientHeight);
    context.fillStyle = "#fff";
    context.fillRect(at - 1, 0, 2, swiped.clientHeight);
    context.beginPath();
    context.arc(at, swiped.clientHeight / 2, 13, 0, 2 * Math.PI);
    context.fill();
    context.strokeStyle = "#000";
    context.lineWidth = 1.5;
    context.stroke();
    context.fillStyle = "#000";
    for (const side of [-1, 1]) {
      context.beginPath();
      context.moveTo(at + side * 9, swiped.clientHeight / 2);
      context.lineTo(at + side * 3, swiped.clientHeight / 2 - 5);
      context.lineTo(at + side * 3, swiped.clientHeight / 2 + 5);
      context.fill();
    }
    const beside = started(panCanvas);
    paint(panCanvas, beside, "pan");
    frames(panCanvas, beside);
    cross(panCanvas, beside);
    const percent = view.zoom * 100;
    document.getElementById("where").textContent =
      `row ${Math.round(view.row)}, column ${Math.round(view.column)}, ` +
      `${percent < 10 ? percent.toFixed(1) : Math.round(percent)} %`;
  }

  function zoomAt(canvas, x, y, factor) {
    const [row, column] = pixel(canvas, x, y);
    view.zoom *= factor;
    limit();
    view.row = row - (y - canvas.clientHeight / 2) / view.zoom;
    view.column = column - (x - canvas.clientWidth / 2) / view.zoom;
    draw();
  }

  const zoomBy = (factor) => zoomAt(swiped, swiped.clientWidth / 2, swiped.clientHeight / 2, factor);

  function fit() {
    Object.assign(view, { row: height / 2, column: width / 2, zoom: fitting() });
    draw();
  }

  function show(part) {
    const zoom = Math.min(swiped.clientWidth / part.width, swiped.clientHeight / part.height);
    Object.assign(view, { row: part.top + part.height / 2, column: part.left + part.width / 2, zoom });
    draw();
  }

  function swipe(value) {
    divider.value = Math.min(1000, Math.max(0, value));
    draw();
  }

  // Pointers: one moves the picture or the divider, two zoom.
  const down = new Map();
  let taken = null; // "divider" or "picture"
  let moved = 0;

  function point(event) {
    const box = event.currentTarget.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  for (const canvas of [swiped, panCanvas]) {
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button > 0) return;
      canvas.setPointerCapture(event.pointerId);
      const at = point(event);
      down.set(event.pointerId, at);
      if (down.size === 1) {
        moved = 0;
        const near = Math.abs(at[0] - split()) < NEAR;
        taken = canvas === swiped && near ? "divider" : "picture";
      }
    });
    canvas.addEventListener("pointermove", (event) => {
      const at = point(event);
      if (!down.has(event.pointerId)) {
        const near = canvas === swiped && Math.abs(at[0] - split()) < NEAR;
        canvas.style.cursor = near ? "ew-resize" : "crosshair";
        return;
      }
      const before = down.get(event.pointerId);
      const step = [at[0] - before[0], at[1] - before[1]];
      moved += Math.hypot(...step);
      if (down.size === 2) {
        const other = [...down].find(([id]) => id !== event.pointerId)[1];
        const far = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]);
        zoomAt(canvas, (at[0] + other[0]) / 2, (at[1] + other[1]) / 2, far(at) / (far(before) || 1));
      } else if (taken === "divider") {
        swipe((at[0] / swiped.clientWidth) * 1000);
      } else if (moved > STILL) {
        view.column -= step[0] / view.zoom;
        view.row -= step[1] / view.zoom;
        draw();
      }
      down.set(event.pointerId, at);
    });
    const end = (event) => {
      const at = down.get(event.pointerId);
      down.delete(event.pointerId);
      if (at && event.type === "pointerup" && taken === "picture" && moved <= STILL) {
        pick(...pixel(canvas, ...at));
      }
      if (down.size === 0) taken = null;
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 33 : 1;
      zoomAt(canvas, ...point(event), Math.exp(-event.deltaY * lines * 0.0016));
    }, { passive: false });
  }

  swiped.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = 60 / view.zoom;
    const sideways = (sign) => event.shiftKey
      ? swipe(Number(divider.value) + sign * 25)
      : ((view.column += sign * step), draw());
    const keys = {
      ArrowLeft: () => sideways(-1),
      ArrowRight: () => sideways(1),
      ArrowUp: () => ((view.row -= step), draw()),
      ArrowDown: () => ((view.row += step), draw()),
      "+": () => zoomBy(1.4),
      "=": () => zoomBy(1.4),
      "-": () => zoomBy(1 / 1.4),
      0: fit,
      1: () => ((view.zoom = 1), draw()),
      Enter: () => pick(view.row, view.column),
    };
    if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    }
  });

  divider.addEventListener("input", draw);
  const buttons = {
    in: () => zoomBy(1.4),
    out: () => zoomBy(1 / 1.4),
    fit,
    full: () => ((view.zoom = 1), draw()),
  };
  for (const button of document.querySelectorAll("[data-do]")) {
    button.addEventListener("click", buttons[button.dataset.do]);
  }
  pictures.slice(1).forEach(({ part }, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `Part ${index + 1}`;
    button.title = `Full resolution at row ${part.top}, column ${part.left}`;
    button.addEventListener("click", () => show(part));
    document.getElementById("details").append(button);
    document.getElementById("framed").hidden = false;
  });

  // Spectra: cubes of bytes, band by band, at the rows and columns that each view names.
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  for (const { spectra } of data.views) {
    for (const name of ["before", "after"]) spectra[name] = bytes(spectra[name]);
  }

  function nearest(values, at) {
    let best = 0;
    values.forEach((value, index) => {
      if (Math.abs(value + 0.5 - at) < Math.abs(values[best] + 0.5 - at)) best = index;
    });
    return best;
  }

  function spectrum(part, row, column) {
    const { rows, columns, low, high, before, after } = part.spectra;
    const i = nearest(rows, row);
    const j = nearest(columns, column);
    const read = (cube) => data.bands.map((_, band) => {
      const value = cube[(band * rows.length + i) * columns.length + j];
      return value ? low[band] + ((value - 1) / 254) * (high[band] - low[band]) : null;
    });
    return { row: rows[i], column: columns[j], before: read(before), after: read(after) };
  }

  function pick(row, column) {
    if (row < 0 || column < 0 || row >= height || column >= width) return;
    const inside = (part) => row >= part.top && row < part.top + part.height &&
      column >= part.left && column < part.left + part.width;
    const part = data.views.slice(1).find(inside) || data.views[0];
    const found = spectrum(part, row, column);
    mark = [found.row, found.column];
    const text = document.getElementById("picked");
    text.className = "key";
    text.innerHTML = `Row ${found.row}, column ${found.column}, the nearest pixel kept here. ` +
      '<b class="before">● MS, dashed</b>, before, <b class="after">■ fused</b> after; ' +
      "to 1/254 of a band's range.";
    document.getElementById("spectrum").innerHTML = chart(found);
    document.getElementById("values").innerHTML = table(found);
    draw();
  }

  const round = (value) => value === null ? "no data" : Number(value.toPrecision(4)).toString();
  const safe = (text) => String(text).replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);
  const named = (band) => safe(band.name) + (band.wavelength ? `, ${Math.round(band.wavelength)} nm` : "");

  function table(found) {
    const rows = data.bands.map((band, index) =>
      `<tr><th scope="row">${named(band)}</th><td>${round(found.before[index])}</td>` +
      `<td>${round(found.after[index])}</td></tr>`).join("");
    return '<table><thead><tr><th scope="col">band</th><th scope="col">MS</th>' +
      `<th scope="col">fused</th></tr></thead><tbody>${rows}</tbody></table>`;
  }

  function chart(found) {
    const w = Math.max(280, document.querySelector(".spectrum").clientWidth * (wide.matches ? 0.58 : 1));
    const [h, left, bottom] = [260, 56, 34];
    const known = [...found.before, ...found.after].filter((value) => value !== null);
    if (!known.length) return "<p>This pixel has no data.</p>";
    const most = Math.max(...known);
    const least = Math.min(0, ...known);
    const by = data.bands.every((band) => band.wavelength);
    const order = data.bands.map((_, index) => index);
    if (by) order.sort((a, b) => data.bands[a].wavelength - data.bands[b].wavelength);
    const place = order.map((band, index) => by ? data.bands[band].wavelength : index);
    const [first, last] = [place[0], place[place.length - 1]];
    const x = (at) => left + 14 + ((at - first) / (last - first || 1)) * (w - left - 34);
    const y = (value) => 10 + (1 - (value - least) / (most - least || 1)) * (h - bottom - 10);
    let text = "";
    for (let tick = 0; tick <= 4; tick++) {
      const value = least + ((most - least) * tick) / 4;
      text += `<path class="grid" d="M${left} ${y(value)}H${w}"/>` +
        `<text x="${left - 6}" y="${y(value) + 4}" text-anchor="end">${round(value)}</text>`;
    }
    let used = -Infinity;
    order.forEach((band, index) => {
      if (x(place[index]) - used < 44) return;
      used = x(place[index]);
      const label = by ? `${Math.round(place[index])} nm` : safe(data.bands[band].name);
      text += `<text x="${used}" y="${h - 12}" text-anchor="middle">${label}</text>`;
    });
    for (const kind of ["before", "after"]) {
      let line = "";
      order.forEach((band, index) => {
        const value = found[kind][band];
        if (value === null) return;
        const [px, py] = [x(place[index]).toFixed(1), y(value).toFixed(1)];
        line += `${line ? "L" : "M"}${px} ${py}`;
        text += kind === "before"
          ? `<circle class="before" cx="${px}" cy="${py}" r="4.5"/>`
          : `<rect class="after" x="${px - 3.5}" y="${py - 3.5}" width="7" height="7"/>`;
      });
      text += `<path class="${kind}" d="${line}"/>`;
    }
    const label = `Spectrum at row ${found.row}, column ${found.column}; values in the table beside it`;
    return `<svg viewBox="0 0 ${w} ${h}" role="img" aria-label="${label}">${text}</svg>`;
  }

  new ResizeObserver(draw).observe(swiped);
  new ResizeObserver(draw).observe(panCanvas);
  fit();
  pick(height / 2, width / 2);
})();
