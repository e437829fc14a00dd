// What the page does beyond being read: tables sort and filter, and the explorer draws what a reader chooses.
"use strict";
(() => {
  const number = (text) => {
    const plain = text.trim().replace(/,/g, "").replace("−", "-").replace("<", "");
    return plain === "" || plain === "–" ? NaN : Number(plain);
  };

  // --- tables ---------------------------------------------------------------------------------------------------------

  function sort(table, column, head) {
    const body = table.tBodies[0];
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const numeric = head.classList.contains("num");
    const key = (row) => {
      const text = row.cells[column].textContent;
      return numeric ? number(text) : text;
    };
    const keyed = Array.from(body.rows, (row) => [key(row), row]);
    keyed.sort(([a], [b]) => {
      if (numeric) {
        if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b); // missing ones stay last
        return up ? a - b : b - a;
      }
      return up ? a.localeCompare(b) : b.localeCompare(a);
    });
    body.append(...keyed.map(([, row]) => row));
  }

  function enliven(table) {
    for (const [column, head] of Array.from(table.tHead.rows[0].cells).entries()) {
      const button = document.createElement("button");
      button.append(...head.childNodes);
      button.type = "button";
      button.title = "Sort";
      button.addEventListener("click", () => sort(table, column, head));
      head.append(button);
    }
    if (table.tBodies[0].rows.length < 12) return;
    const box = document.createElement("input");
    box.type = "search";
    box.placeholder = "Filter rows";
    box.setAttribute("aria-label", "Filter rows");
    box.className = "filter";
    box.addEventListener("input", () => {
      const wanted = box.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of table.tBodies[0].rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !wanted.every((word) => text.includes(word));
      }
    });
    table.parentElement.before(box);
  }

  for (const table of document.querySelectorAll("table")) enliven(table);

  // --- explorer -------------------------------------------------------------------------------------------------------

  const holder = document.getElementById("explorer-data");
  if (!holder || !window.vegaEmbed) return;
  const data = JSON.parse(holder.textContent);
  const types = { f4: Float32Array, u1: Uint8Array, u2: Uint16Array, u4: Uint32Array };
  const unpack = ({ type, shape, data: text }) => {
    const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
    const array = new types[type](bytes.buffer);
    const at = (...index) => {
      const entry = array[index.reduce((sum, i, axis) => sum * shape[axis] + i, 0)];
      return Number.isFinite(entry) ? entry : null;
    };
    return Object.assign(at, { shape });
  };
  const arrays = Object.fromEntries(Object.entries(data.arrays).map(([name, packed]) => [name, unpack(packed)]));
  const pooled = data.pooled && Object.fromEntries(Object.entries(data.pooled).map(([n, packed]) => [n, unpack(packed)]));
  const labels = data.labels;
  const dims = ["country", "contrast", "value", "context"];
  const state = Object.fromEntries(dims.map((dim, i) => [dim, data.start[i]]));
  const OK = 0, NOT_APPLICABLE = 1;
  const MOST = 40;

  /** One cell of the cube as a row, under the names of the page's tables. */
  function cell({ country, contrast, value, context }) {
    const at = [country, contrast, value, context];
    const estimate = arrays.estimate(...at), status = arrays.status(...at);
    const row = {
      country: labels.country[country][0], contrast: labels.contrast[contrast][0],
      value: labels.value[value][0], context: labels.context[context][0],
      country_label: labels.country[country][1], contrast_label: labels.contrast[contrast][1],
      question: labels.value[value][1], context_label: labels.context[context][1],
      estimate, q_value: arrays.q_value(...at),
      conf_low: arrays.conf_low(...at), conf_high: arrays.conf_high(...at),
      n: arrays.n_effect(...at), n_baseline: arrays.n_baseline(...at), n_treated: arrays.n_treated(...at),
      kind: "one", why: status === OK ? "" : data.status[status],
    };
    labels.models.forEach((_, i) => {
      row[`m${i}`] = arrays[`m${i}`](...at);
      row[`u${i}`] = data.unheeded[i].includes(contrast);
    });
    return row;
  }

  /** The shifts of a value without an order, a row per option; none where nothing was estimated. */
  function overOptions(chosen) {
    const place = data.nominal.indexOf(chosen.value);
    if (place < 0) return [];
    const at = [chosen.country, chosen.contrast, place, chosen.context];
    const rows = labels.options[chosen.value].map((label, k) => {
      const shift = arrays.shift(...at, k), band = arrays.band(...at, k);
      const row = { ...cell(chosen), label, option_label: label, estimate: shift, why: "" };
      Object.assign(row, { conf_low: shift - band, conf_high: shift + band });
      labels.models.forEach((_, i) => { row[`m${i}`] = arrays[`s${i}`](...at, k); });
      return row;
    });
    return numbered(rows.filter((row) => row.estimate !== null));
  }

  const boxOf = (name) => document.querySelector(`#explore [data-picture="${name}"]`);
  const width = () => (document.getElementById("explore").clientWidth < 620 ? "narrow" : "wide"); // pictures may be hidden
  const numbered = (rows) => rows.map((row, y) => ({ ...row, y }));

  const alone = labels.country.length === 1; // then contrasts stand where countries would

  function overContrasts(chosen) {
    const rows = labels.contrast.map(([, label], contrast) => ({ ...cell({ ...chosen, contrast }), label, position: contrast }));
    return numbered(rows.filter((row) => arrays.status(chosen.country, row.position, chosen.value, chosen.context) !== NOT_APPLICABLE));
  }

  function overCountries(chosen) {
    const rows = labels.country.map(([, label], country) => ({ ...cell({ ...chosen, country }), label }));
    const at = [chosen.contrast, chosen.value, chosen.context];
    if (pooled && pooled.k(...at) > 1 && pooled.effect(...at) !== null) {
      rows.push({
        country: "pooled", contrast: rows[0].contrast, value: rows[0].value, context: rows[0].context,
        label: `pooled, I² ${(100 * pooled.i2(...at)).toFixed(0)} %`, kind: "pooled", why: "", estimate: pooled.effect(...at),
        conf_low: pooled.lower(...at), conf_high: pooled.upper(...at),
        further_low: pooled.prediction_lower(...at), further_high: pooled.prediction_upper(...at),
      });
    }
    return numbered(rows);
  }

  function overValues(chosen) {
    const rows = labels.short.map((label, value) => ({ ...cell({ ...chosen, value }), label, position: value }));
    const scored = rows.filter((row) => data.scored[row.position]);
    const strength = (row) => (row.estimate === null ? -1 : Math.abs(row.estimate) / (row.conf_high - row.estimate || 1e-9));
    const kept = scored.slice().sort((a, b) => strength(b) - strength(a)).slice(0, MOST);
    const current = scored.find((row) => row.position === chosen.value);
    if (current && !kept.includes(current)) kept.push(current);
    return numbered(kept.sort((a, b) => b.estimate - a.estimate));
  }

  function onTheMap(chosen) {
    return labels.country
      .map(([, label], country) => ({ ...cell({ ...chosen, country }), label, place: labels.place[country] }))
      .filter((row) => row.place)
      .map(({ place, ...row }) => ({ ...row, latitude: place[0], longitude: place[1] }));
  }

  function answers({ country, value }) {
    const options = labels.bars[value], paint = data.paint[value], range = labels.range[value];
    const nominal = !data.scored[value] || range, middle = (options.length - 1) / 2;
    const written = (share) => (range
      ? (range[0] + share * (range[1] - range[0])).toLocaleString("en", { maximumFractionDigits: range[3] })
      : (100 * share).toFixed(0));
    const rows = [];
    labels.coarse.forEach((persona, y) => {
      const shares = options.map((_, k) => arrays.response(country, value, y, range ? 1 : k) ?? 0);
      const left = (k) => (nominal ? 0 : Math.min(Math.max(middle + 0.5 - k, 0), 1));
      let edge = -shares.reduce((sum, share, k) => sum + share * left(k), 0);
      shares.forEach((share, k) => {
        rows.push({
          y, label: labels.persona[persona][1], persona: labels.persona[persona][0], first: k === 0,
          option_label: options[k], share, text: written(share), n: arrays.n(country, value, persona),
          low: edge, high: edge + share, colour: paint[k][0], opacity: paint[k][1],
        });
        edge += share;
      });
    });
    return rows;
  }

  function lattice({ country, value }) {
    const own = data.lattice[width()];
    const dots = own.dots.map((dot, i) => ({ // coarser personas come first, so the phone's are the first of the desk's
      ...dot, mean: arrays.mean(country, value, i), n: arrays.n(country, value, i),
    }));
    const arcs = own.arcs.map((arc, i) => {
      const [contrast, context] = own.at[i];
      return { ...cell({ country, contrast, value, context }), ...arc };
    });
    return [dots, arcs];
  }

  // --- drawing --------------------------------------------------------------------------------------------------------

  const drawn = {};

  async function draw(name, sets, says) {
    const box = boxOf(name);
    const spec = structuredClone(data.specs[width()][name]);
    spec.datasets = sets;
    const ticket = (drawn[name] = { ticket: (drawn[name]?.ticket ?? 0) + 1, view: drawn[name]?.view }).ticket;
    const place = document.createElement("div");
    const result = await window.vegaEmbed(place, spec, {
      actions: false, renderer: "svg", ast: true, logLevel: 1, mode: "vega-lite", tooltip: { theme: "page" },
    });
    if (drawn[name].ticket !== ticket) { result.finalize(); return; }
    drawn[name].view?.finalize();
    drawn[name].view = result;
    box.replaceChildren(place);
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", says);
    const choose = (item, dim) => {
      const key = item?.datum?.[dim];
      const position = labels[dim].findIndex(([known]) => known === key);
      if (position >= 0) set({ [dim]: position });
    };
    const picks = { countries: alone ? "contrast" : "country", world: "country", values: "value" }[name];
    if (picks) result.view.addEventListener("click", (_, item) => choose(item, picks));
  }

  const HIDDEN = new Set([...labels.models.map((_, i) => `u${i}`), "y", "kind", "why", "label", "position", "latitude", "longitude", "first", "colour", "opacity",
    "low", "high", "column", "from", "to", "edge", "row", "beside", "country_label", "contrast_label", "question", "context_label"]);

  /** Put the numbers of a picture under it: tables that sort, and a CSV of each. */
  function list(name, ...sets) {
    const box = document.querySelector(`#explore [data-numbers="${name}"]`);
    box.replaceChildren(...sets.flatMap((rows, i) => listing(i ? `${name}-${i + 1}` : name, rows)));
    for (const table of box.querySelectorAll("table")) enliven(table);
  }

  function listing(name, rows) {
    const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))].filter((key) => !HIDDEN.has(key));
    const title = (key) => (/^m\d+$/.test(key) ? `model: ${labels.models[key.slice(1)]}` : data.columns[key] ?? key);
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    for (const key of columns) {
      const th = document.createElement("th");
      th.scope = "col";
      th.textContent = title(key);
      if (rows.some((row) => typeof row[key] === "number")) th.className = "num";
      head.append(th);
    }
    const body = table.createTBody();
    for (const row of rows) {
      const line = body.insertRow();
      for (const key of columns) {
        const entry = row[key], td = line.insertCell();
        if (typeof entry === "number") {
          td.className = "num";
          td.textContent = Number.isInteger(entry) && key.startsWith("n") ? entry.toLocaleString("en") : entry.toPrecision(3).replace("-", "−");
          td.dataset.number = entry;
        } else td.textContent = entry ?? "–";
      }
    }
    const quote = (entry) => {
      const text = entry === null || entry === undefined ? "" : String(entry);
      return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
    };
    const csv = [columns.map(title), ...rows.map((row) => columns.map((key) => row[key]))];
    const link = document.createElement("a");
    link.download = `${name}.csv`;
    link.href = "data:text/csv;charset=utf-8," + encodeURIComponent(csv.map((line) => line.map(quote).join(",")).join("\r\n"));
    link.textContent = "Download as CSV";
    const scroll = document.createElement("div");
    scroll.className = "scroll";
    scroll.tabIndex = 0;
    scroll.append(table);
    const download = document.createElement("p");
    download.className = "download";
    download.append(link);
    return [scroll, download];
  }

  const signed = (x, digits = 2) => {
    const text = x.toFixed(digits);
    return Number(text) === 0 ? Math.abs(x).toFixed(digits) : (x > 0 ? "+" : "") + text.replace("-", "−");
  };

  function sentence(chosen) {
    const row = cell(chosen), [, who] = labels.context[chosen.context], [, where] = labels.country[chosen.country];
    const head = `${labels.contrast[chosen.contrast][1]}, among ${who} in ${where}: `;
    const moved = overOptions(chosen).sort((a, b) => Math.abs(b.estimate) - Math.abs(a.estimate));
    if (moved.length) {
      const { label, estimate, conf_low: low, conf_high: high } = moved[0];
      const points = (x) => signed(100 * x, 0), q = row.q_value;
      const test = q === null ? "" : `; q of all options at once ${q < 0.001 ? "below 0.001" : q.toFixed(3)}`;
      return `${head}“${label}” moves most, by ${points(estimate)} percentage points (${points(low)} to ${points(high)}, a band that ` +
        `holds all options)${test}, ${row.n.toLocaleString("en")} people.${q === null || q < 0.05 ? "" : " Among so many effects noise can explain it."}`;
    }
    if (row.estimate === null) return `${head}not estimated, ${row.why || "not part of the lattice"}.`;
    const options = labels.options[chosen.value], end = row.estimate > 0 ? options[options.length - 1] : options[0];
    const range = labels.range[chosen.value];
    const units = range && `, ${signed(row.estimate * (range[1] - range[0]), range[3])} ${range[2]}`.trimEnd();
    const towards = row.estimate === 0 ? "" : units || `, towards “${end}”`;
    const noise = row.q_value < 0.05 ? "" : " Among so many effects noise can explain it.";
    const models = labels.models
      .map((label, i) => (row[`m${i}`] === null ? null : `${label} ${signed(row[`m${i}`])}${row[`u${i}`] ? " †" : ""}`))
      .filter(Boolean);
    const ignored = labels.models.some((_, i) => row[`u${i}`]) ? " †: it does not take in being told so, hence no effect of being somebody." : "";
    const followed = models.length ? ` Models: ${models.join(", ")}.${ignored}` : "";
    return `${head}effect ${signed(row.estimate)} (${signed(row.conf_low)} to ${signed(row.conf_high)}) on the 0..1 score${towards}; q ` +
      `${row.q_value < 0.001 ? "below 0.001" : row.q_value.toFixed(3)}, ` +
      `${row.n_treated.toLocaleString("en")} against ${row.n_baseline.toLocaleString("en")} people.${noise}${followed}`;
  }

  const selects = Object.fromEntries(dims.map((dim) => [dim, document.querySelector(`#explore [data-choose="${dim}"]`)]));
  for (const [dim, select] of Object.entries(selects)) {
    labels[dim].forEach(([, label], i) => {
      const option = new Option(dim === "value" ? labels.short[i] : label, i);
      option.title = label;
      select.add(option);
    });
    select.addEventListener("change", () => set({ [dim]: Number(select.value) }));
    select.parentElement.hidden = dim === "country" && alone;
  }

  function fit(chosen) {
    // a context that fixes the contrast's own attribute has no such effect: fall back to everyone
    const { country, contrast, value, context } = chosen;
    return arrays.status(country, contrast, value, context) === NOT_APPLICABLE ? { ...chosen, context: 0 } : chosen;
  }

  function set(change, { remember = true } = {}) {
    Object.assign(state, fit({ ...state, ...change }));
    for (const [dim, select] of Object.entries(selects)) select.value = state[dim];
    for (const option of selects.context.options) {
      option.disabled = arrays.status(state.country, state.contrast, state.value, Number(option.value)) === NOT_APPLICABLE;
    }
    if (remember) {
      const parts = new URLSearchParams(dims.map((dim) => [dim, labels[dim][state[dim]][0]]));
      history.replaceState(null, "", `#${parts}`);
    }
    document.querySelector("#explore [data-says]").textContent = sentence(state);
    document.querySelector("#explore [data-question]").textContent = labels.value[state.value][1];
    for (const title of document.querySelectorAll("#explore [data-title]")) {
      title.textContent = {
        countries: alone ? `Every contrast, among ${labels.context[state.context][1]}`
          : `${labels.contrast[state.contrast][1]}, among ${labels.context[state.context][1]}: every country`,
        options: `${labels.contrast[state.contrast][1]}, among ${labels.context[state.context][1]}: answer by answer`,
        values: `${labels.country[state.country][1]}: ${labels.contrast[state.contrast][1]}, among ${labels.context[state.context][1]}, on ${labels.value.length > MOST ? `the ${MOST} questions with most evidence` : "every question"}`,
        world: `${labels.contrast[state.contrast][1]}, on the map`,
        responses: `${labels.country[state.country][1]}: what people answer`,
        lattice: `${labels.country[state.country][1]}: all personas`,
      }[title.dataset.title];
    }
    return show();
  }

  async function show() {
    const sets = {
      countries: { rows: alone ? overContrasts(state) : overCountries(state) }, options: { rows: overOptions(state) }, values: { rows: overValues(state) },
      world: { rows: onTheMap(state), land: [data.land] }, responses: { rows: answers(state) },
    };
    const [dots, arcs] = lattice(state);
    sets.lattice = { rows: dots, arcs };
    const box = document.getElementById("explore");
    box.dataset.state = "drawing";
    const says = document.querySelector("#explore [data-says]").textContent;
    const jobs = Object.entries(sets).map(([name, own]) => {
      const figure = document.querySelector(`#explore [data-figure="${name}"]`);
      if (!figure) return null;
      const effects = name !== "responses" && name !== "options"; // which nominal questions have none of
      figure.hidden = !own.rows.length || (name === "values" && labels.value.length === 1) ||
        (effects && name !== "values" && !data.scored[state.value]);
      if (figure.hidden) return null;
      if (name === "lattice") list(name, arcs, dots);
      else list(name, own.rows);
      return draw(name, own, `${figure.querySelector("h3").textContent}. ${says}`);
    });
    await Promise.all(jobs);
    const options = document.querySelector("#explore [data-options]");
    const paint = data.paint[state.value];
    options.replaceChildren(...labels.bars[state.value].map((label, k) => {
      const item = document.createElement("li"), square = document.createElement("i"), text = document.createElement("bdi");
      square.className = "square";
      square.style.setProperty("--c", paint[k][0]);
      square.style.setProperty("--a", paint[k][1]);
      text.textContent = label;
      item.append(square, text);
      return item;
    }));
    box.dataset.state = "drawn";
  }

  function fromAddress() {
    const asked = new URLSearchParams(location.hash.slice(1)), change = {}, lost = [];
    for (const dim of dims) {
      if (!asked.has(dim)) continue;
      const position = labels[dim].findIndex(([key]) => key === asked.get(dim));
      if (position >= 0) change[dim] = position;
      else lost.push(`${dim} ${asked.get(dim)}`);
    }
    document.querySelector("#explore [data-lost]").textContent = lost.length ? `This page does not hold ${lost.join(", ")}.` : "";
    return change;
  }

  document.getElementById("explore").hidden = false;
  document.documentElement.classList.add("js"); // what the explorer shows need not stand on the screen twice
  window.addEventListener("hashchange", () => {
    const change = fromAddress();
    if (Object.keys(change).length) set(change, { remember: false });
  });
  let last = width();
  window.addEventListener("resize", () => {
    if (width() !== last) show();
    last = width();
  });
  set(fromAddress(), { remember: false });
})();
