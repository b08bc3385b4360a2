"use strict";
/* Shows the document of a report (zipspark/report/sections.py). Its texts are data: text nodes, never markup. */
(() => {
  const FIRST_ROWS = 50; // of a long table, until more are asked for
  const PREVIEW = 90; // characters of a folded sample
  const drawings = []; // charts, drawn when the page stands and has a width
  const content = JSON.parse(document.getElementById("document").textContent);
  const count = (number) => number.toLocaleString("en-US");

  /** An element: its name and class ("td.number"), attributes or listeners ("onclick"), children (text or elements). */
  function make(name, attributes = {}, ...children) {
    const [tag, ...classes] = name.split(".");
    const element = document.createElement(tag);
    if (classes.length) element.className = classes.join(" ");
    for (const [key, value] of Object.entries(attributes)) {
      if (typeof value === "function") element.addEventListener(key.slice(2), value);
      else if (value !== null) element.setAttribute(key, value);
    }
    element.append(...children.flat().filter((child) => child !== null));
    return element;
  }

  /** A folded element, whose inside is made when it is opened first. */
  function fold(kind, title, inside) {
    const element = make(`details${kind}`, {}, make("summary", {}, title));
    element.addEventListener("toggle", () => element.append(...inside()), { once: true });
    return element;
  }

  const leftOut = (number) => (number ? [make("p.note", {}, `${count(number)} more characters are left out.`)] : []);
  const preview = (text) => {
    const line = text.slice(0, 4 * PREVIEW).replace(/\s+/g, " ").trim();
    return line.length > PREVIEW ? `${line.slice(0, PREVIEW)}…` : line || "(blank)";
  };
  const whole = (cell) => [make("pre", { tabindex: "0" }, cell.sample), ...leftOut(cell.left_out)];
  const sample = (cell) => fold("", preview(cell.sample), () => whole(cell));

  const shown = {
    text: ({ text, tone }) => make(tone ? `p.${tone}` : "p", {}, text),
    code: ({ text }) => make("pre", { tabindex: "0" }, text),
    folded: ({ title, blocks }) => fold("", title, () => blocks.map(show)),
    samples: ({ items }) => make("div.samples", {}, items.map(pick)),
    pair: ({ sides }) => make("div.sides", {}, sides.map(side)),
    picture: ({ source, caption }) => make("figure.picture", {},
      make("div.scroll", {}, make("img", { src: source, alt: caption })), make("figcaption", {}, caption)),
    chart,
    table,
  };
  const show = (block) => shown[block.kind](block);

  function pick({ rank, facts, text }) {
    const about = (rank === null ? facts : [`rank ${rank}`, ...facts]).join(" · ");
    if (typeof text === "string") return make("p.note", {}, `${about} · text ${text}`);
    const title = [rank === null ? null : make("span.rank", {}, rank), preview(text.sample)];
    return fold(".pick", title.filter((part) => part !== null), () => [
      make("p.note", {}, about), ...whole(text),
    ]);
  }

  function side({ facts, runs, left_out }) {
    const words = (runs || []).map(([same, text]) => (same ? text : make("mark", {}, text)));
    const text = runs ? make("p", { tabindex: "0" }, words) : make("p", {}, "hidden");
    return make("div", {}, make("div.note", {}, facts.join(" · ")), text, ...leftOut(left_out));
  }

  function chart({ spec, caption, numbers, least }) {
    if (!content.has_charts) return make("figure", {}, make("figcaption", {}, caption), table(numbers));
    const plot = make("div.plot", { role: "img", "aria-label": caption });
    plot.style.minWidth = `${least}px`;
    const figures = fold("", "The same as a table", () => [table(numbers)]);
    const options = {
      mode: "vega-lite", renderer: "svg", ast: true, actions: false, defaultStyle: false, config: content.config,
      tooltip: { disableDefaultStyle: true },
    };
    drawings.push(() => window.vegaEmbed(plot, spec, options).catch((error) => {
      plot.replaceChildren(make("p.note", {}, `This chart cannot be drawn here: ${error.message}`));
      figures.open = true;
    }));
    return make("figure", {}, make("div.scroll", {}, plot), make("figcaption", {}, caption), figures);
  }

  const isSample = (cell) => typeof cell === "object" && "sample" in cell;
  const valueOf = (cell) => (typeof cell === "string" ? cell : isSample(cell) ? cell.sample : cell.value);
  const textOf = (cell) => (typeof cell === "string" ? cell : isSample(cell) ? cell.sample : cell.text);

  /** Ascending; what has no value comes last either way. */
  function compare(one, other, sign) {
    if (one === null || other === null) return (one === null) - (other === null);
    return sign * (typeof one === "number" ? one - other : one.localeCompare(other));
  }

  function table({ columns, rows, left_out, strong, search, filters }) {
    const state = { sorted: null, sign: 1, wanted: "", chosen: new Map(), most: FIRST_ROWS };
    const body = make("tbody");
    const found = make("span.note", { role: "status" });
    const more = make("button.more", { type: "button", onclick: () => { state.most = Infinity; update(); } });
    const heads = columns.map(({ name, kind }, at) => make(`th.${kind}`, { scope: "col" },
      make("button", { type: "button", onclick: () => sort(at) }, name)));

    function sort(at) {
      state.sign = state.sorted === at ? -state.sign : columns[at].kind === "number" ? -1 : 1;
      state.sorted = at;
      heads.forEach((head, other) => head.removeAttribute("aria-sort"));
      heads[at].setAttribute("aria-sort", state.sign > 0 ? "ascending" : "descending");
      update();
    }

    function update() {
      let kept = rows.filter((row) => [...state.chosen].every(([at, value]) => textOf(row[at]) === value));
      if (state.wanted) {
        kept = kept.filter((row) => row.some((cell) => textOf(cell).toLowerCase().includes(state.wanted)));
      }
      if (state.sorted !== null) {
        const key = (row) => valueOf(row[state.sorted]);
        kept = [...kept].sort((one, other) => compare(key(one), key(other), state.sign));
      }
      body.replaceChildren(...kept.slice(0, state.most).map(line));
      more.hidden = kept.length <= state.most;
      more.textContent = `Show all ${count(kept.length)} rows`;
      found.textContent = `${kept.length < rows.length ? `${count(kept.length)} of ` : ""}${count(rows.length)} rows`;
    }

    function line(row) {
      const inside = (cell) => (isSample(cell) ? sample(cell) : textOf(cell));
      const cells = row.map((cell, at) => make(`td.${columns[at].kind}`, {}, inside(cell)));
      return make(strong !== null && row[0] === strong ? "tr.strong" : "tr", {}, cells);
    }

    function choice(at) {
      const values = [...new Set(rows.map((row) => textOf(row[at])))].sort((one, other) => one.localeCompare(other));
      const pick = (event) => {
        const index = event.target.selectedIndex - 1;
        if (index < 0) state.chosen.delete(at);
        else state.chosen.set(at, values[index]);
        update();
      };
      const options = [`any ${columns[at].name}`, ...values].map((value) => make("option", {}, value));
      return make("select", { "aria-label": columns[at].name, onchange: pick }, options);
    }

    const input = make("input", {
      type: "search", placeholder: "Search", "aria-label": "Search the rows", spellcheck: "false",
      oninput: (event) => { state.wanted = event.target.value.toLowerCase(); update(); },
    });
    const tools = search ? [make("div.tools", {}, input, filters.map(choice), found)] : [];
    update();
    const head = make("thead", {}, make("tr", {}, heads));
    const inner = make(columns.length > 3 ? "table" : "table.narrow", {}, head, body);
    const rest = left_out ? [make("p.note", {}, `${count(left_out)} more rows are left out.`)] : [];
    return make("div", {}, tools, make("div.scroll", { tabindex: "0" }, inner), more, rest);
  }

  const { verdict, sections, foot } = content;
  const figures = verdict.figures.map(([label, number]) =>
    make("div", {}, make("dt", {}, label), make("dd", {}, number)));
  document.getElementById("report").append(
    make("header", {},
      make("p.brand", {}, "zipspark report"),
      make("h1", {}, verdict.headline),
      ...(figures.length ? [make("dl.figures", {}, figures)] : []),
      verdict.sentences.map((said) => make("p", {}, said)),
      verdict.warnings.map((said) => make("p.warning", {}, said)),
      verdict.notes.map((said) => make("p.note", {}, said)),
      make("nav", { "aria-label": "Sections" }, sections.map(({ id, title }) => make("a", { href: `#${id}` }, id)))),
    ...sections.map(({ id, title, blocks }) => make("section", { id }, make("h2", {}, title), blocks.map(show))),
    make("footer", {}, foot.map((said) => make("p", {}, said))));
  drawings.forEach((draw) => draw());
})();
