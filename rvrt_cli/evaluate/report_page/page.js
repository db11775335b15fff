"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const by = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const DASHES = ["", "7 4", "2 3", "10 3 2 3", "14 5", "4 2 1 2"];
  const state = { left: data.left, right: data.right, place: 0, zoom: "fit", wipe: 0.5, x: 0, y: 0, curve: 0, cursor: 0 };

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }
  function drawn(name, attributes, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }
  const limited = (value, low, high) => Math.min(high, Math.max(low, value));

  // --- the two pictures and the wipe ---
  const stage = by("stage"), handle = by("handle");
  const images = { left: by("over"), right: by("under") };

  function sizes() {
    // The picture as it is shown, in CSS pixels. At 100 % one of its pixels is one of the screen's.
    const place = data.places[state.place];
    const room = stage.clientWidth;
    const wide = place.width * place.aspect;
    const tallest = Math.max(160, Math.round(window.innerHeight * 0.72));
    const fit = Math.min(room / wide, tallest / place.height);
    const scale = state.zoom === "fit" ? fit : Number(state.zoom) / window.devicePixelRatio;
    const width = wide * scale, height = place.height * scale;
    return { width, height, scale, room, frame: Math.round(state.zoom === "fit" ? height : limited(height, place.height * fit, tallest)) };
  }
  function layOut() {
    const { width, height, scale, room, frame } = sizes();
    stage.style.height = frame + "px";
    const spareX = room - width, spareY = frame - height;
    state.x = spareX >= 0 ? spareX / 2 : limited(state.x, spareX, 0);
    state.y = spareY >= 0 ? spareY / 2 : limited(state.y, spareY, 0);
    stage.classList.toggle("movable", spareX < -0.5 || spareY < -0.5);
    for (const image of Object.values(images)) {
      image.style.width = width + "px";
      image.style.height = height + "px";
      image.style.transform = `translate(${Math.round(state.x)}px, ${Math.round(state.y)}px)`;
      image.classList.toggle("sharp", scale * window.devicePixelRatio >= 2);
    }
    by("wipe").style.clipPath = `inset(0 ${100 - 100 * state.wipe}% 0 0)`;
    handle.style.left = 100 * state.wipe + "%";
    const percent = Math.round(100 * state.wipe);
    handle.setAttribute("aria-valuenow", percent);
    handle.setAttribute("aria-valuetext", `${percent} % ${data.films[state.left].label}, ${100 - percent} % ${data.films[state.right].label}`);
    by("left-tag").style.opacity = state.wipe > 0.02 ? 1 : 0;
    by("right-tag").style.opacity = state.wipe < 0.98 ? 1 : 0;
  }
  function showPlace() {
    const place = data.places[state.place];
    for (const side of ["left", "right"]) {
      const label = data.films[state[side]].label;
      images[side].src = place.pictures[state[side]];
      images[side].alt = `${label} at ${place.name}`;
      by(side + "-tag").textContent = label;
      by(side + "-tag").title = label;
    }
    const told = by("place-figures");
    told.replaceChildren(element("strong", {}, place.name), ` (${place.why}; stored as ${place.stored}). `);
    const sides = state.left === state.right ? [state.left] : [state.left, state.right];
    for (const film of sides.filter((one) => place.figures[one].length)) {
      told.append(element("strong", {}, data.films[film].label), `: ${place.figures[film].join(", ")}. `);
    }
    [...by("places").querySelectorAll("button")].forEach((button, index) => {
      if (index === state.place) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    });
    layOut();
  }
  function wipeTo(value) {
    state.wipe = limited(value, 0, 1);
    layOut();
  }
  function dragged(target, start, move) {
    target.addEventListener("pointerdown", (down) => {
      if (down.button !== 0) return;
      const moved = start(down);
      if (!moved) return;
      target.setPointerCapture(down.pointerId);
      const follow = (event) => move(event, moved);
      const end = () => {
        target.removeEventListener("pointermove", follow);
        target.removeEventListener("pointerup", end);
        target.removeEventListener("pointercancel", end);
      };
      target.addEventListener("pointermove", follow);
      target.addEventListener("pointerup", end);
      target.addEventListener("pointercancel", end);
    });
  }
  const wipeAt = (event) => wipeTo((event.clientX - stage.getBoundingClientRect().left) / stage.clientWidth);
  dragged(handle, (down) => { down.stopPropagation(); handle.focus({ preventScroll: true }); return true; }, wipeAt);
  dragged(
    stage,
    (down) => {
      if (stage.classList.contains("movable")) return { x: state.x - down.clientX, y: state.y - down.clientY };
      wipeAt(down);
      return true;
    },
    (event, from) => {
      if (from === true) return wipeAt(event);
      state.x = from.x + event.clientX;
      state.y = from.y + event.clientY;
      layOut();
    },
  );
  handle.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 0.1 : 0.01;
    const steps = { ArrowLeft: -step, ArrowDown: -step, ArrowRight: step, ArrowUp: step, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 };
    if (!(event.key in steps) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    wipeTo(state.wipe + steps[event.key]);
  });
  stage.addEventListener("keydown", (event) => {
    const ways = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (!(event.key in ways) || !stage.classList.contains("movable") || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    state.x += ways[event.key][0] * 40;
    state.y += ways[event.key][1] * 40;
    layOut();
  });
  by("zoom").addEventListener("change", (event) => {
    // What is in the middle stays in the middle.
    const before = sizes();
    const middle = [(before.room / 2 - state.x) / before.width, (before.frame / 2 - state.y) / before.height];
    state.zoom = event.target.value;
    const after = sizes();
    state.x = after.room / 2 - middle[0] * after.width;
    state.y = after.frame / 2 - middle[1] * after.height;
    layOut();
  });
  for (const side of ["left", "right"]) {
    data.films.forEach((film, index) => by(side).append(element("option", { value: index }, film.label)));
    by(side).value = state[side];
    by(side).addEventListener("change", () => {
      state[side] = Number(by(side).value);
      showPlace();
    });
  }

  // --- the time line ---
  function choosePlace(index, focus) {
    state.place = limited(index, 0, data.places.length - 1);
    const button = by("places").querySelectorAll("button")[state.place];
    if (focus) button.focus();
    const row = by("places");
    row.scrollLeft = limited(row.scrollLeft, button.offsetLeft + button.offsetWidth - row.offsetLeft - row.clientWidth + 8, button.offsetLeft - row.offsetLeft - 8);
    showPlace();
  }
  data.places.forEach((place, index) => {
    const button = element("button", { type: "button" }, element("img", { src: place.thumbnail, alt: "" }), place.name, element("span", {}, place.why));
    button.addEventListener("click", () => choosePlace(index));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      choosePlace(index + step, true);
    });
    by("places").append(element("li", {}, button));
  });

  // --- the curves ---
  const chart = by("chart"), cursor = by("cursor");
  const number = (value) => (value === "inf" ? Infinity : value);
  const shown = (value, curve) => `${value === "inf" ? "∞" : value.toFixed(curve.digits)} ${curve.unit}`.trim();

  function ticks(low, high, count) {
    const rough = (high - low) / count || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
    const found = [];
    for (let i = Math.ceil(low / step); i * step <= high + step * 1e-6; i++) found.push(i * step);
    return { found, digits: Math.max(0, -Math.floor(Math.log10(step))) };
  }
  function drawCurves() {
    const curve = data.curves[state.curve];
    const width = chart.clientWidth, height = chart.clientHeight;
    const box = { left: 52, right: width - 10, top: 10, bottom: height - 38 };
    const finite = curve.lines.flatMap((line) => line.values).map(number).filter(Number.isFinite);
    let low = Math.min(...finite), high = Math.max(...finite);
    if (!finite.length) [low, high] = [0, 1];
    const spare = (high - low) * 0.06 || Math.abs(high) * 0.01 || 1;
    low -= spare;
    high += spare;
    const first = data.x[0], last = data.x[data.x.length - 1];
    const across = (x) => (last > first ? box.left + ((x - first) / (last - first)) * (box.right - box.left) : (box.left + box.right) / 2);
    // Equal pictures have no finite PSNR; they lie on the upper edge.
    const up = (y) => box.bottom - ((limited(number(y), low, high) - low) / (high - low)) * (box.bottom - box.top);
    chart.replaceChildren();
    chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
    chart.setAttribute("aria-label", `Curves of ${curve.title}, one per film; the slider below reads them frame by frame.`);
    const rows = ticks(low, high, 4);
    for (const y of rows.found) {
      chart.append(drawn("line", { class: "grid", x1: box.left, x2: box.right, y1: up(y), y2: up(y) }));
      chart.append(drawn("text", { x: box.left - 6, y: up(y) + 4, "text-anchor": "end" }, y.toFixed(rows.digits)));
    }
    const columns = ticks(first, last, Math.max(2, Math.floor(width / 110)));
    for (const x of last > first ? columns.found : [first]) {
      chart.append(drawn("text", { x: across(x), y: height - 6, "text-anchor": "middle" }, `${x.toFixed(columns.digits)} ${data.unit}`.trim()));
    }
    for (const line of curve.lines) {
      const points = line.values.map((value, i) => `${across(data.x[i]).toFixed(1)},${up(value).toFixed(1)}`);
      if (points.length === 1) points.push(points[0]);
      chart.append(drawn("polyline", { class: `line${line.film % 6}`, "stroke-dasharray": DASHES[line.film % 6], fill: "none", "stroke-width": 2, "stroke-linecap": "round", "stroke-linejoin": "round", points: points.join(" ") }));
    }
    data.places.forEach((place, index) => {
      const x = across(place.x), y = box.bottom + 3;
      const mark = drawn("path", { class: "place", d: `M${x} ${y}l6 11h-12z` });
      mark.append(drawn("title", {}, `Show ${place.name}`));
      mark.addEventListener("click", () => choosePlace(index));
      chart.append(mark);
    });
    const x = across(data.x[state.cursor]);
    chart.append(drawn("line", { class: "at", x1: x, x2: x, y1: box.top, y2: box.bottom }));
    chart.onpointermove = chart.onpointerdown = (event) => {
      const wanted = first + ((event.clientX - chart.getBoundingClientRect().left - box.left) / (box.right - box.left)) * (last - first);
      let nearest = 0;
      data.x.forEach((one, i) => { if (Math.abs(one - wanted) < Math.abs(data.x[nearest] - wanted)) nearest = i; });
      if (nearest !== state.cursor) readAt(nearest);
    };
  }
  function readAt(index) {
    state.cursor = index;
    cursor.value = index;
    const curve = data.curves[state.curve];
    const told = curve.lines.map((line) => `${data.films[line.film].label} ${shown(line.values[index], curve)}`).join(", ");
    const run = data.step > 1 ? `, mean of ${data.step} frames` : "";
    by("readout").textContent = `${data.names[index]}${run}: ${told}`;
    cursor.setAttribute("aria-valuetext", by("readout").textContent);
    drawCurves();
  }
  function chooseCurve(index) {
    state.curve = index;
    by("legend").replaceChildren(
      ...data.curves[index].lines.map((line) => {
        const sample = drawn("svg", { viewBox: "0 0 34 10", "aria-hidden": "true" });
        sample.append(drawn("line", { class: `line${line.film % 6}`, x1: 1, x2: 33, y1: 5, y2: 5, "stroke-width": 3, "stroke-dasharray": DASHES[line.film % 6] }));
        return element("li", {}, sample, data.films[line.film].label);
      }),
    );
    readAt(state.cursor);
  }

  by("viewer").hidden = false;
  showPlace();
  new ResizeObserver(layOut).observe(stage.parentElement);
  if (data.curves.length) {
    by("curves").hidden = false;
    cursor.max = data.x.length - 1;
    cursor.disabled = data.x.length < 2;
    data.curves.forEach((curve, index) => {
      const input = element("input", { type: "radio", name: "curve", value: index });
      input.checked = index === 0;
      by("choose-curve").append(element("label", {}, input, element("span", {}, curve.title)));
    });
    by("choose-curve").addEventListener("change", (event) => chooseCurve(Number(event.target.value)));
    cursor.addEventListener("input", () => readAt(Number(cursor.value)));
    chooseCurve(0);
    new ResizeObserver(drawCurves).observe(by("curves"));
  }
})();
