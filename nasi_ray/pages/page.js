"use strict";
// Draws the figures, and lets the reader select other cells. Everything is in this page.
const page = JSON.parse(document.getElementById("page-data").textContent);
const views = {};

function doubles(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  return new Float64Array(bytes.buffer);
}

// Equation 18, as nasi_ray.nasi.estimator computes it: the same operations in the same order, so
// that the doubles, and with them the cell, are Python's.
function estimate(run, numSamples, nu, mu) {
  const numLogits = run.grad.length / run.e.length;
  const alpha = new Float64Array(numLogits);
  const limits = [];
  let seen = 0, largest = 0, n = 0;
  for (; n < run.e.length && run.index[n] < numSamples; n++) {
    const limit = run.method === "ada" ? (nu + seen) / (n + 1) : nu;
    limits.push(limit);
    seen += run.e[n];
    const factor = run.e[n] > limit ? 1 - mu : 1;
    const norm = Math.sqrt(factor * factor * run.squared[n] + run.epsilon);
    largest = Math.max(largest, norm);
    const divisor = run.normalize === "each" ? norm : largest;
    if (!(divisor > 0)) continue;
    for (let i = 0; i < numLogits; i++) {
      alpha[i] += ((run.grad[n * numLogits + i] * factor) / divisor) * run.xi;
    }
  }
  return { alpha: alpha.map((sum) => sum / n), limits };
}

// Candidates of every decision, best first; of equal ones the first, as in the spaces' `select`.
function orders(explorer, alpha) {
  let start = 0;
  return explorer.decisions.map(({ candidates }) => {
    const own = alpha.slice(start, (start += candidates.length));
    return [...own.keys()].sort((a, b) => (own[b] > own[a] ? 1 : own[b] < own[a] ? -1 : 0));
  });
}

function cellRows(explorer, order) {
  const name = (decision, rank) => explorer.decisions[decision].candidates[order[decision][rank]];
  return explorer.slots.map((slot) => {
    const [first, ranks] = slot.sources;
    let sources = slot.sources;
    if (ranks !== undefined) {
      const chosen = ranks.map((rank) => order[first][rank]).sort((a, b) => a - b);
      sources = chosen.map((i) => explorer.decisions[first].candidates[i]);
    }
    return { ...slot, op: slot.op ? name(...slot.op) : "", sources };
  });
}

function replace(id, name, rows) {
  const view = views[id];
  if (!view) return Promise.resolve();
  return view.data(name, structuredClone(rows)).runAsync(); // Vega marks the rows as its own
}

// The shapes that pages/lanes.py draws, without how sure the choices are: nobody resampled here.
function shapes(lanes, rows, colours) {
  const end = lanes.length - 0.3;
  const found = [];
  rows.forEach((row, y) => {
    for (const source of row.sources) {
      found.push({ part: "tap", x: lanes.indexOf(source), x2: end, y, open: false, tip: `${row.target} takes ${source}` });
    }
    found.push({ part: "op", x: end, y, text: row.op.replace(/-bn-relu$/, "") || "output", color: colours(row.op), open: false, tip: `${row.target}: ${row.op}` });
    if (y + 1 === rows.length || rows[y + 1].target !== row.target) {
      const first = rows.findIndex((other) => other.target === row.target);
      found.push({ part: "target", y: (first + y) / 2, text: row.target });
    }
  });
  return found;
}

function tiles(explorer, alpha, order) {
  const groups = {};
  let start = 0;
  explorer.decisions.forEach(({ name, candidates, kept }, d) => {
    const own = alpha.slice(start, (start += candidates.length));
    const top = Math.max(...own);
    const shares = Array.from(own, (value) => Math.exp(value - top));
    const sum = shares.reduce((a, b) => a + b, 0);
    const group = name.slice(name.lastIndexOf("/") + 1);
    candidates.forEach((candidate, i) => {
      const p = shares[i] / sum;
      (groups[group] ??= []).push({
        name, candidate, p: p * candidates.length,
        mark: order[d].slice(0, kept).includes(i) ? "kept" : "",
        tip: `${name}, ${candidate}: p ${p.toPrecision(4)}`,
      });
    });
  });
  return groups;
}

function explore(form, explorer) {
  const part = form.id.split("-")[0];
  const control = (name) => form.querySelector(`.${name}`);
  const run = explorer.replay;
  const steps = explorer.steps.map((step) => ({ ...step, alpha: doubles(step.alpha) }));
  if (!steps.length) return;
  const last = steps.length - 1;
  const keptOf = (order) => explorer.decisions.map(({ kept }, d) => order[d].slice(0, kept).join());
  const recorded = keptOf(orders(explorer, steps[last].alpha));
  const colours = (op) => page.colours.find(([name]) => op.includes(name))?.[1] ?? page.grey;
  let isMoved = false; // whether ν or μ is the reader's
  if (run) {
    for (const name of ["e", "grad", "squared"]) run[name] = doubles(run[name]);
  }
  const low = run && Math.log(Math.max(run.low, run.high * 1e-6)), high = run && Math.log(run.high);
  const slideOf = (nu) => Math.round((1000 * (Math.log(Math.max(nu, 1e-300)) - low)) / (high - low || 1));

  function reset() {
    isMoved = false;
    control("step").value = last;
    if (run) {
      control("nu").value = run.nu ?? "";
      control("nu").placeholder = run.nu === null ? "all (sweep)" : "";
      control("slide").value = run.nu === null ? 500 : slideOf(run.nu);
      control("mu").value = run.mu;
    }
    show();
  }

  async function show() {
    const step = steps[Number(control("step").value)];
    let alpha = step.alpha, limits = null, where = explorer.choose ? step.label : `T ${step.label}`;
    if (run && isMoved) {
      const nu = Number(control("nu").value), mu = Number(control("mu").value);
      ({ alpha, limits } = estimate(run, step.label, nu, mu));
      where += `, ν ${Number(nu.toPrecision(4))}, μ ${mu}`;
    } else if (run && run.nu !== null && !run.follows) {
      limits = estimate(run, step.label, run.nu, run.mu).limits;
    }
    const order = orders(explorer, alpha), kept = keptOf(order);
    const equal = kept.filter((chosen, d) => chosen === recorded[d]).length;
    const all = kept.length;
    control("found").textContent =
      `${where}: ${equal === all ? "the same cell" : `another cell; ${equal} of ${all} decisions keep the same`}.`;
    const rows = cellRows(explorer, order);
    form.dataset.cell = JSON.stringify(rows.map(({ cell, target, op, sources }) => ({ cell, target, op, sources })));
    const isAnswer = !isMoved && Number(control("step").value) === last;
    const work = [];
    for (const [cell, lanes] of Object.entries(explorer.lanes)) {
      const id = `${part}-${cell === "cell" ? cell : `${cell}-cell`}`;
      const own = rows.filter((row) => row.cell === cell);
      work.push(replace(id, "rows", isAnswer ? page.figures[id].data.values : shapes(lanes, own, colours)));
    }
    for (const [group, values] of Object.entries(tiles(explorer, alpha, order))) {
      work.push(replace(`${part}-candidates-${group}`, "tiles", values));
    }
    if (limits) {
      const line = limits.map((nu, n) => ({ t: run.index[n], nu })).filter(({ nu }) => nu > 0);
      work.push(replace(`${part}-samples`, "nu", line), replace(`${part}-histogram`, "nu", line.slice(-1)));
    }
    await Promise.all(work);
    form.dataset.shown = where;
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  control("reset").addEventListener("click", reset);
  for (const event of ["input", "change"]) control("step").addEventListener(event, show);
  if (run) {
    control("slide").addEventListener("input", () => {
      control("nu").value = Number(Math.exp(low + (control("slide").value / 1000) * (high - low)).toPrecision(6));
      isMoved = true;
      show();
    });
    for (const name of ["nu", "mu"]) {
      control(name).addEventListener("input", () => {
        if (control("nu").value === "" || control("mu").value === "") return;
        control("slide").value = slideOf(Number(control("nu").value));
        isMoved = true;
        show();
      });
    }
  }
  reset();
}

async function draw() {
  const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
  const options = {
    renderer: "svg",
    tooltip: { theme: isDark ? "dark" : "light" },
    actions: { export: true, source: false, compiled: false, editor: false },
  };
  for (const [id, spec] of Object.entries(page.figures)) {
    const place = document.getElementById(id);
    try {
      const result = await vegaEmbed(place, structuredClone(spec), { ...options, downloadFileName: id });
      views[id] = result.view;
    } catch (error) {
      place.textContent = `This figure cannot be drawn here: ${error.message}`;
      console.error(id, error);
    }
  }
  for (const [id, explorer] of Object.entries(page.explorers)) explore(document.getElementById(id), explorer);
  document.documentElement.dataset.drawn = Object.keys(views).length;
}

for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    const text = button.closest(".code").querySelector("pre");
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text); // no clipboard here: ready for the keyboard
      button.textContent = "Selected";
    }
  });
}
draw();
