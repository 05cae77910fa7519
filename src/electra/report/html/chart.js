// The large chart: a figure of all runs over steps, tokens, operations or hours, to point at and to compare.

class Chart {
  constructor(place, legend) {
    this.legend = legend;
    this.hidden = new Set();
    this.at = null; // the x that the pointer is at
    this.figure = makeElement("select", { id: "figure" });
    data.figures.forEach((figure, index) => this.figure.append(new Option(figure.title, index)));
    this.axis = makeElement("select", { id: "axis" });
    for (const [name, label] of Object.entries(AXES)) {
      if (name === "step" || data.runs.some((run) => run.axes[name])) this.axis.append(new Option(label, name));
    }
    this.logX = makeElement("input", { type: "checkbox", id: "log-x" });
    this.logY = makeElement("input", { type: "checkbox", id: "log-y" });
    this.svg = makeShape("svg", { tabindex: 0, role: "application", "aria-describedby": "chart-help" });
    this.tip = makeElement("div", { class: "tip", role: "status", hidden: "" });
    this.plot = makeElement("div", { class: "plot" }, this.svg, this.tip);
    const help = makeElement("p", { class: "note", id: "chart-help" });
    help.textContent = "Rest the pointer on the chart, or use the arrow keys in it, to read the values. The names below switch runs on and off; a double click leaves one alone, or brings all back.";
    place.append(
      makeElement("div", { class: "controls" },
        makeElement("label", {}, "figure", this.figure), makeElement("label", {}, "over", this.axis),
        makeElement("label", {}, this.logX, "log x"), makeElement("label", {}, this.logY, "log y")),
      this.plot, help);
    this.prepareSmallFigures();
    this.prepareLegend();
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  prepareSmallFigures() {
    this.smalls = [...document.querySelectorAll(".small[data-figure]")];
    for (const small of this.smalls) {
      small.setAttribute("role", "button");
      small.setAttribute("tabindex", "0");
      onPress(small, () => {
        this.figure.value = small.dataset.figure;
        this.draw();
        this.plot.scrollIntoView({ block: "nearest" });
      });
    }
  }

  prepareLegend() {
    this.items = [...this.legend.querySelectorAll("li")];
    this.legend.setAttribute("role", "group");
    this.legend.setAttribute("aria-label", "runs");
    for (const item of this.items) {
      const run = Number(item.dataset.run);
      item.setAttribute("role", "button");
      item.setAttribute("tabindex", "0");
      onPress(item, () => {
        if (!this.hidden.delete(run)) this.hidden.add(run);
        this.draw();
      });
      item.addEventListener("dblclick", () => {
        const others = this.items.map((each) => Number(each.dataset.run)).filter((each) => each !== run);
        const alone = others.every((each) => this.hidden.has(each));
        this.hidden = new Set(alone ? [] : others);
        this.draw();
      });
    }
  }

  listen() {
    for (const control of [this.figure, this.axis, this.logX, this.logY]) {
      control.addEventListener("change", () => this.draw());
    }
    const point = (event) => {
      const left = event.clientX - this.svg.getBoundingClientRect().left;
      const top = event.clientY - this.svg.getBoundingClientRect().top;
      this.showAt(this.fromPixel(Math.min(Math.max(left, MARGIN.left), this.width - MARGIN.right)), top);
    };
    this.svg.addEventListener("pointermove", point);
    this.svg.addEventListener("pointerdown", point);
    this.svg.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "touch") this.showAt(null); // a finger that is lifted leaves the values to read
    });
    this.svg.addEventListener("blur", () => this.showAt(null));
    this.svg.addEventListener("keydown", (event) => {
      const all = [...new Set(this.lines.flatMap((line) => line.x))].sort((a, b) => a - b);
      if (!all.length) return;
      const now = this.at === null ? -1 : all.findIndex((x) => x >= this.at);
      const pace = event.shiftKey ? Math.ceil(all.length / 10) : 1;
      const next = { ArrowLeft: now - pace, ArrowRight: now + pace, Home: 0, End: all.length - 1 }[event.key];
      if (event.key === "Escape") this.showAt(null);
      if (next === undefined) return;
      event.preventDefault();
      this.showAt(all[Math.min(Math.max(next, 0), all.length - 1)]);
    });
  }

  // The visible lines on the chosen axis, without points that it cannot show; a gap has y null.
  gatherLines(figure) {
    const axis = this.axis.value;
    const lines = [];
    for (const { run, split, steps, values } of figure.lines) {
      if (this.hidden.has(run)) continue;
      const line = { run, split, step: [], x: [], y: [] };
      steps.forEach((step, index) => {
        const x = convertStep(run, axis, step);
        const y = this.logY.checked && values[index] <= 0 ? null : values[index];
        if (x === null || (this.logX.checked && x <= 0)) return;
        line.step.push(step);
        line.x.push(x);
        line.y.push(y);
      });
      if (line.y.some((y) => y !== null)) lines.push(line);
    }
    return lines;
  }

  measure() {
    const all = (key) => this.lines.flatMap((line) => line[key].filter((value) => value !== null));
    const extent = (values, log) => {
      let [low, high] = [Infinity, -Infinity];
      for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
      if (!(low <= high)) return log ? [0.1, 1] : [0, 1];
      if (low === high) return log ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) * 0.1, high + (Math.abs(high) || 1) * 0.1];
      return [low, high];
    };
    const [low, high] = extent(all("y"), this.logY.checked);
    const room = this.logY.checked ? (high / low) ** 0.04 : (high - low) * 0.05;
    this.rangeY = this.logY.checked ? [low / room, high * room] : [low - room, high + room];
    const rangeX = extent(all("x"), this.logX.checked);
    this.rangeX = this.logX.checked ? rangeX : [0, Math.max(rangeX[1], 0) || 1];
  }

  scale(value, [low, high], log) {
    return log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
  }

  toX(value) {
    return MARGIN.left + this.scale(value, this.rangeX, this.logX.checked) * (this.width - MARGIN.left - MARGIN.right);
  }

  toY(value) {
    return this.height - MARGIN.bottom - this.scale(value, this.rangeY, this.logY.checked) * (this.height - MARGIN.top - MARGIN.bottom);
  }

  fromPixel(pixel) {
    const part = (pixel - MARGIN.left) / (this.width - MARGIN.left - MARGIN.right);
    const [low, high] = this.rangeX;
    return this.logX.checked ? low * (high / low) ** part : low + part * (high - low);
  }

  draw() {
    const figure = data.figures[this.figure.value];
    this.width = this.plot.clientWidth;
    if (!this.width) return;
    this.height = Math.round(Math.min(Math.max(this.width * 0.46, 240), 440));
    this.lines = this.gatherLines(figure);
    this.measure();
    const shapes = [...this.drawAxes()];
    for (const line of this.lines) shapes.push(...this.drawLine(line));
    if (!this.lines.length) {
      shapes.push(makeShape("text", { x: this.width / 2, y: this.height / 2, "text-anchor": "middle" }, "nothing to draw: no run is switched on, or no value is above 0"));
    }
    this.marks = makeShape("g");
    this.svg.replaceChildren(...shapes, this.marks);
    this.svg.setAttribute("width", this.width);
    this.svg.setAttribute("height", this.height);
    this.svg.setAttribute("aria-label", `${figure.title} over ${AXES[this.axis.value]}`);
    const drawn = new Set(figure.lines.map((line) => line.run));
    for (const item of this.items) {
      const run = Number(item.dataset.run);
      item.setAttribute("aria-pressed", String(!this.hidden.has(run)));
      item.hidden = !drawn.has(run);
    }
    for (const small of this.smalls) small.setAttribute("aria-pressed", String(small.dataset.figure === this.figure.value));
    this.showAt(this.at);
  }

  *drawAxes() {
    const bottom = this.height - MARGIN.bottom;
    for (const tick of listTicks(...this.rangeY, this.logY.checked, this.height / 60)) {
      const y = this.toY(tick);
      yield makeShape("path", { class: "grid", d: `M${MARGIN.left} ${y}H${this.width - MARGIN.right}` });
      yield makeShape("text", { x: MARGIN.left - 7, y: y + 4, "text-anchor": "end" }, formatNumber(tick));
    }
    for (const tick of listTicks(...this.rangeX, this.logX.checked, this.width / 110)) {
      const x = this.toX(tick);
      yield makeShape("path", { class: "grid", d: `M${x} ${bottom}v5` });
      yield makeShape("text", { x: Math.min(x, this.width - 16), y: bottom + 17, "text-anchor": "middle" }, formatNumber(tick));
    }
    yield makeShape("path", { class: "grid", d: `M${MARGIN.left} ${bottom}H${this.width - MARGIN.right}` });
    yield makeShape("text", { x: this.width - MARGIN.right, y: this.height - 4, "text-anchor": "end" }, AXES[this.axis.value]);
  }

  *drawLine(line) {
    const { colour, dash } = data.runs[line.run];
    const held = line.split !== "train";
    let path = "";
    let joined = false;
    line.x.forEach((x, index) => {
      const y = line.y[index];
      if (y !== null) path += `${joined ? "L" : "M"}${this.toX(x).toFixed(1)} ${this.toY(y).toFixed(1)}`;
      joined = y !== null;
    });
    yield makeShape("path", { class: `line c${colour} ${held ? "held" : `d${dash}`}`, d: path });
    if (line.x.length === 1 || (held && line.x.length <= DOTTED)) {
      for (const [index, x] of line.x.entries()) {
        if (line.y[index] !== null) yield makeShape("circle", { class: `dot c${colour}`, cx: this.toX(x), cy: this.toY(line.y[index]), r: 3 });
      }
    }
  }

  // The cross at an x, and each line's nearest value there; x null takes them away. ``y``: the pointer's height.
  showAt(x, y = null) {
    this.at = x;
    this.marks.replaceChildren();
    this.tip.hidden = x === null || !this.lines.length;
    if (this.tip.hidden) return;
    const pixel = this.toX(x);
    this.marks.append(makeShape("path", { class: "cross", d: `M${pixel} ${MARGIN.top}V${this.height - MARGIN.bottom}` }));
    const byRun = new Map();
    for (const line of this.lines) {
      const place = (each) => this.toX(each);
      const index = reaches(line, x, place) ? findNearest(line, x, place) : -1;
      if (index < 0) continue;
      const read = { split: line.split, step: line.step[index], value: line.y[index] };
      byRun.set(line.run, [...(byRun.get(line.run) || []), read]);
      const { colour } = data.runs[line.run];
      this.marks.append(makeShape("circle", { class: `dot c${colour}`, cx: this.toX(line.x[index]), cy: this.toY(read.value), r: 4 }));
    }
    this.tip.replaceChildren(...this.makeTip(x, y, [...byRun]));
    const left = pixel > this.width / 2 ? pixel - this.tip.offsetWidth - 14 : pixel + 14;
    this.tip.style.left = `${Math.min(Math.max(left, 4), Math.max(this.width - this.tip.offsetWidth - 4, 4))}px`;
  }

  // The tip's lines: where it is, and a line for each run, the largest value first; of many the nearest to the pointer.
  makeTip(x, y, read) {
    const head = makeElement("b");
    const step = this.axis.value === "step";
    head.textContent = step ? `step ${Math.round(x).toLocaleString("en")}` : `${formatNumber(x)} ${AXES[this.axis.value]}`;
    const apart = ([, [first]]) => (y === null ? -first.value : Math.abs(this.toY(first.value) - y));
    const shown = read.sort((a, b) => apart(a) - apart(b)).slice(0, TIP_LINES);
    shown.sort(([, [a]], [, [b]]) => b.value - a.value);
    const rows = shown.map(([run, values]) => makeTipRow(run, values));
    if (read.length > TIP_LINES) rows.push(makeElement("i", {}, `and ${read.length - TIP_LINES} more`));
    return [head, ...rows];
  }
}
