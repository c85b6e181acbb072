"use strict";
// Every text of the data enters the page through text nodes: nothing in it can become markup.
(() => {
  const KINDS = {
    root: ["Question", "the root"],
    ost: ["Thought", "OST: one-step thought"],
    crs: ["Solution", "CRS: complete the remaining steps"],
    qg: ["Query", "QG: generate a query"],
    rt: ["Document", "RT: a retrieved document, in plain language"],
    thought: ["Thought", ""], rewrite: ["Rewrite", "The question or query in other words"], query: ["Query", ""],
    retrieval: ["Documents", ""], open: ["Opened", "A document was opened and read"], answer: ["Answer", ""],
  };
  const STATUS = {
    solved: ["\u2713", "Solved"], unsolved: ["\u2715", "Not solved"], unknown: ["\u2022", "Answer not judged"],
    failed: ["!", "Failed"], skipped: ["\u2013", "Skipped"], open: ["\u2026", "Not searched yet"],
  };
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const byId = (id) => document.getElementById(id);
  const index = read("index");
  const problems = index.problems;
  // What a label means: in a tree reflection decided whether to go on with the document.
  const WORDS = index.kind === "trajectories" ? { true: "relevant", false: "not relevant", null: "not judged" } : { true: "kept", false: "rejected", null: "not judged" };
  let documents = null;
  const documentAt = (place) => (documents ||= read("documents"))[place];

  // What can be filtered besides the status of a problem.
  const FILTERS = {
    fit: ["Fit for training", "A right answer, and a document that is relevant or was gone on with", (one) => one.fit > 0],
    unjudged: ["Not judged", "An answer or a document that nobody has judged", (one) => one.unjudged > 0],
  };

  const state = { filter: "all", at: -1, data: null, node: 0, open: new Set(), ghosts: true, rollout: null };

  function el(tag, options, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(options || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name === "class") made.className = value;
      else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else made.setAttribute(name, value === true ? "" : String(value));
    }
    made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
    return made;
  }
  const number = (value) => value.toLocaleString("en");
  const figure = (value, digits = 2) => (value === null || value === undefined ? "\u2013" : value.toFixed(digits));
  const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
  const flat = (text, most = 240) => {
    const line = (text || "").slice(0, most * 2).replace(/\s+/g, " ").trim();
    return line.length > most ? line.slice(0, most) + "\u2026" : line;
  };
  const facts = (pairs) =>
    el("dl", { class: "facts" }, ...pairs.filter(Boolean).map(([name, value]) => el("div", null, el("dt", null, name), el("dd", null, value))));
  const tag = (kind) => el("span", { class: `tag ${kind}`, title: KINDS[kind][1] }, KINDS[kind][0]);
  const whole = (text) => el("p", { class: "whole" }, text || "(empty)");

  // The list of problems.

  const searchable = problems.map((one) => [one.id, ...(one.logs || []), one.question, one.gold, one.reason].filter(Boolean).join("\n").toLowerCase());
  const passes = (one) => state.filter === "all" || (FILTERS[state.filter] ? FILTERS[state.filter][2](one) : one.status === state.filter);
  // A problem of a log is called what the log calls its runs.
  const nameOf = (one) => (one.logs && one.logs.length ? one.logs[0] + (one.logs.length > 1 ? ` +${one.logs.length - 1}` : "") : one.id);

  function totals() {
    const count = (status) => problems.filter((one) => one.status === status).length;
    const sum = (name) => problems.reduce((total, one) => total + (one[name] || 0), 0);
    const solved = count("solved");
    const judged = solved + count("unsolved");
    const shown = [["problems", number(problems.length) + (index.left_out ? ` of ${number(problems.length + index.left_out)}` : "")]];
    if (judged) shown.push(["solved", `${number(solved)} (${Math.round((100 * solved) / judged)}%)`]);
    shown.push([index.kind === "trajectories" ? "trajectories" : "rollouts", number(sum("runs"))], ["searches", number(sum("searches"))]);
    shown.push([`documents ${WORDS.true}`, number(sum("kept"))], [WORDS.false, number(sum("rejected"))]);
    byId("totals").append(...shown.map(([name, value]) => el("div", null, el("dt", null, name), el("dd", null, value))));
  }

  function filters() {
    const statuses = Object.keys(STATUS).filter((status) => problems.some((one) => one.status === status));
    const there = ["all", ...(statuses.length > 1 ? statuses : []), ...Object.keys(FILTERS)];
    byId("filters").append(...there.map((name) => {
      const count = name === "all" ? problems.length : problems.filter(FILTERS[name] ? FILTERS[name][2] : (one) => one.status === name).length;
      return el("button", { class: "chip", type: "button", title: FILTERS[name] ? FILTERS[name][1] : null, "aria-pressed": String(name === "all"), "data-filter": name, onclick: () => {
        state.filter = name;
        for (const other of byId("filters").children) other.setAttribute("aria-pressed", String(other.dataset.filter === name));
        list();
      } }, `${name === "all" ? "All" : (FILTERS[name] ? FILTERS[name][0] : STATUS[name][1])} ${number(count)}`);
    }));
  }

  function list() {
    const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = problems.map((_, at) => at).filter((at) =>
      passes(problems[at]) && words.every((word) => searchable[at].includes(word)));
    byId("problems").replaceChildren(...found.map((at) => {
      const one = problems[at];
      const [sign, name] = STATUS[one.status];
      return el("li", null, el("button", { type: "button", "data-at": at, "aria-current": at === state.at ? "true" : null, onclick: () => go(at) },
        el("span", { class: `mark ${one.status}`, title: name, "aria-label": name }, sign),
        el("span", { class: "id", title: [one.id, ...(one.logs || [])].join("\n") }, nameOf(one)),
        el("span", { class: "share", title: "right / all" }, one.runs ? `${one.right}/${one.runs}` : ""),
        el("span", { class: "words" }, flat(one.question || one.reason || "", 160))));
    }));
    if (!found.length) byId("problems").append(el("li", { class: "none" }, "Nothing matches."));
  }

  // One problem.

  function show(at, node) {
    const one = problems[at];
    const other = state.at !== at;
    if (other) {
      state.at = at;
      state.data = prepared(read(`p${at}`));
      state.rollout = null;
      for (const button of byId("problems").querySelectorAll("button")) {
        const here = Number(button.dataset.at) === at;
        if (here) button.setAttribute("aria-current", "true"); else button.removeAttribute("aria-current");
        if (here) button.scrollIntoView({ block: "nearest" });
      }
      if (state.data.nodes) toStart();
    }
    byId("app").classList.toggle("wide", !state.data.nodes);
    if (!state.data.nodes) return paths(one);
    if (node !== undefined && state.data.nodes[node]) {
      state.node = node;
      for (const above of way(node).slice(0, -1)) state.open.add(above);
      if (state.data.right.includes(node)) highlight(state.data, node);
    }
    const top = byId("problem").scrollTop;
    tree(one);
    byId("problem").scrollTop = other ? 0 : top;
    if (!other || node !== undefined) inSight();
    detail();
  }

  function prepared(data) {
    if (!data.nodes) return data;
    data.children = data.nodes.map(() => []);
    data.nodes.forEach((node, at) => { if (node.parent !== null) data.children[node.parent].push(at); });
    data.below = data.nodes.map(() => 0);
    for (let at = data.nodes.length - 1; at > 0; at--) data.below[data.nodes[at].parent] += data.below[at] + 1;
    // Leaves with the right answer, those that were reached most often first.
    data.right = data.nodes.map((node, at) => at).filter((at) => data.nodes[at].terminal && data.nodes[at].reward > 0 && data.nodes[at].n > 0);
    data.right.sort((a, b) => data.nodes[b].n - data.nodes[a].n || a - b);
    highlight(data, data.right.length ? data.right[0] : null);
    return data;
  }

  function highlight(data, answer) {
    data.answer = answer;
    data.path = new Set(answer === null ? [] : pathIn(data, answer));
  }

  function pathIn(data, at) {
    const found = [];
    for (let here = at; here !== null; here = data.nodes[here].parent) found.unshift(here);
    return found;
  }
  const way = (at) => pathIn(state.data, at);

  function toStart() {
    const { nodes, answer } = state.data;
    state.node = answer === null ? 0 : answer;
    state.open = new Set([0, ...way(state.node)]);
    if (answer === null) nodes.forEach((node, at) => { if (node.depth < 2 && node.n) state.open.add(at); });
  }

  function head(one) {
    const good = one.status === "solved" ? "good" : one.status === "unsolved" || one.status === "failed" ? "bad" : "plain";
    return [
      el("div", { class: "head" }, el("h2", { title: one.id }, nameOf(one)), el("span", { class: `badge ${good}` }, STATUS[one.status][1])),
      one.question ? el("p", { class: "whole question" }, one.question) : null,
      one.reason ? el("p", { class: "whole question loss" }, one.reason) : null,
    ];
  }

  function tree(one) {
    const data = state.data;
    const answers = new Map();
    for (const [leaf, , reward] of data.rollouts) {
      const said = data.nodes[leaf].answer ?? "(none)";
      const entry = answers.get(said) || [0, reward];
      answers.set(said, [entry[0] + 1, Math.max(entry[1], reward)]);
    }
    const given = el("span");
    [...answers].sort((a, b) => b[1][0] - a[1][0]).slice(0, 8).forEach(([said, [count, reward]], at) => {
      given.append(at ? ",  " : "", el("span", { class: reward > 0 ? "gain" : "loss" }, flat(said, 60)), ` \u00d7${count}`);
    });
    const c = data.counts;
    const summary = facts([
      one.gold === null ? null : ["Right answer", flat(one.gold, 300)],
      answers.size ? ["Answers reached", given] : null,
      ["Rollouts", `${one.right} right of ${one.runs}`],
      ["Nodes", number(data.nodes.length)],
      ["Searches", number(one.searches)],
      ["Documents", `${one.kept} kept, ${one.rejected} rejected`],
      c.unreadable_reflections ? ["Unreadable reflections", number(c.unreadable_reflections)] : null,
    ]);
    byId("problem").replaceChildren(...head(one).filter(Boolean), summary, rollouts(), ways(), visits(), ...outline());
    mark();
  }

  function rollouts() {
    const data = state.data;
    if (!data.rollouts.length) return el("div");
    const made = data.rollouts.map(([leaf, , reward], at) => el("button", {
      type: "button", class: reward > 0 ? "right" : "", "data-rollout": at, title: `Rollout ${at + 1}: ${reward > 0 ? "right" : "wrong"}, ${flat(data.nodes[leaf].answer ?? "no answer", 80)}`,
      onclick: () => { state.rollout = at; go(state.at, leaf); },
    }, String(at + 1)));
    return el("section", null, el("h3", null, "Rollouts, in their order"), el("div", { class: "rollouts" }, ...made));
  }

  function ways() {
    const { nodes, right, answer } = state.data;
    if (!right.length) return el("div");
    const made = right.slice(0, 12).map((leaf) => {
      const kinds = way(leaf).slice(1).map((at) => nodes[at].kind);
      return el("button", { type: "button", class: "way-row", "aria-pressed": String(leaf === answer), onclick: () => {
        state.rollout = null;
        state.open = new Set([0, ...way(leaf)]);
        go(state.at, leaf);
      } }, ...kinds.map(tag), el("span", { class: "soft num" }, `\u00d7${nodes[leaf].n}`),
        kinds.includes("rt") ? el("span", { class: "badge good", title: "A document was kept on the way: RaDeR trains on such" }, "with retrieval") : null);
    });
    if (right.length > made.length) made.push(el("p", { class: "soft" }, `and ${right.length - made.length} more`));
    return el("section", null, el("h3", null, "Ways to the right answer, and how often they were taken"), el("div", { class: "ways" }, ...made));
  }

  function visits() {
    const { nodes, children, path } = state.data;
    if (!nodes[0].n) return el("div");
    const box = el("div", { class: "visits" });
    let deepest = 0;
    const place = (at, left, width) => {
      const node = nodes[at];
      deepest = Math.max(deepest, node.depth);
      const cell = el("button", {
        type: "button", tabindex: "-1", class: `${node.kind}${path.has(at) ? " path" : ""}`, "data-node": at,
        title: `${KINDS[node.kind][0]}: N ${node.n}, Q ${figure(node.q, 1)}\n${flat(node.text, 200)}`, onclick: () => go(state.at, at),
      }, width > 0.07 ? KINDS[node.kind][0] : "");
      cell.style.left = `${100 * left}%`;
      cell.style.width = `${100 * width}%`;
      cell.style.top = `${node.depth * 19}px`;
      box.append(cell);
      let from = left;
      for (const child of children[at]) {
        const share = width * (nodes[child].n / node.n);
        if (nodes[child].n) place(child, from, share);
        from += share;
      }
    };
    place(0, 0, 1);
    box.style.height = `${(deepest + 1) * 19}px`;
    const legend = el("span", { class: "legend" }, ...["ost", "crs", "qg", "rt"].map((kind) => el("span", { class: kind, title: KINDS[kind][1] }, KINDS[kind][0])));
    return el("section", null, el("div", { class: "bar" }, el("h3", null, "Where the rollouts went"), legend), box);
  }

  function outline() {
    const { nodes, children, path, answer } = state.data;
    const rows = [];
    const visit = (at, level) => {
      rows.push(row(at, level));
      if (!state.open.has(at)) return;
      if (state.ghosts) for (const one of rejected(nodes[at])) rows.push(ghost(at, one, level + 1));
      for (const child of children[at]) visit(child, level + 1);
    };
    visit(0, 0);
    const redraw = (change) => () => { change(); show(state.at); };
    const bar = el("div", { class: "bar" }, el("h3", null, "Tree"),
      answer === null ? null : el("button", { type: "button", onclick: () => { state.open = new Set([0, ...way(answer)]); go(state.at, answer); } }, "Only the way to the answer"),
      el("button", { type: "button", onclick: redraw(() => { state.open = new Set(nodes.keys()); }) }, "Open all"),
      el("button", { type: "button", onclick: redraw(() => { state.open = new Set([0]); }) }, "Close all"),
      el("label", null, el("input", { type: "checkbox", id: "ghosts", checked: state.ghosts, onchange: (event) => { state.ghosts = event.target.checked; show(state.at); } }), "documents that were not kept"));
    const headings = el("div", { class: "row headings" }, el("span", null, "Action and text"),
      el("span", { title: "N: visits" }, "N"), el("span", { title: "Q: sum of rewards" }, "Q"), el("span", { title: "Q / N: mean reward" }, "Q/N"));
    const box = el("div", { class: "tree", role: "tree", "aria-label": "Search tree", tabindex: "0", onkeydown: keys }, headings, ...rows);
    return [bar, box];
  }

  const rejected = (node) => (node.considered || []).filter((one) => one[2] !== true);

  function row(at, level) {
    const { nodes, children, path } = state.data;
    const node = nodes[at];
    const opens = children[at].length || (state.ghosts && rejected(node).length);
    const label = el("div", { class: "label" }, ...Array.from({ length: level }, () => el("span", { class: "guide" })),
      el("span", { class: "twist", "data-twist": opens ? "" : null }, opens ? (state.open.has(at) ? "\u25be" : "\u25b8") : ""),
      tag(node.kind),
      el("span", { class: "words" }, at === 0 ? flat(problems[state.at].question) : flat(node.text) || el("span", { class: "soft" }, "(empty)")),
      opens && !state.open.has(at) && state.data.below[at] ? el("span", { class: "soft more-below", title: "nodes below" }, `+${state.data.below[at]}`) : null,
      node.terminal ? el("span", { class: `final ${node.reward > 0 ? "good" : "bad"}`, title: node.reward > 0 ? "right answer" : "wrong answer" },
        node.answer === null || node.answer === undefined ? "no answer" : `= ${flat(node.answer, 60)}`) : null);
    const share = node.n ? node.q / node.n : null;
    const value = el("span", { class: "value" }, share === null ? null : el("i"), share === null ? "" : figure(share));
    if (share !== null) value.firstChild.style.setProperty("--share", share);
    return el("div", {
      class: `row${path.has(at) ? " path" : ""}${node.n ? "" : " unvisited"}`, role: "treeitem", "data-node": at, "aria-level": level + 1,
      "aria-expanded": opens ? String(state.open.has(at)) : null, "aria-selected": String(at === state.node),
      onclick: (event) => {
        if (event.target.dataset.twist !== undefined) toggle(at); else { state.rollout = null; go(state.at, at); }
      },
      ondblclick: () => toggle(at),
    }, label, el("span", { class: `num${node.n ? "" : " zero"}` }, String(node.n)),
      el("span", { class: `num${node.q ? " gain" : " zero"}` }, Number.isInteger(node.q) ? String(node.q) : figure(node.q)), value);
  }

  function ghost(at, one, level) {
    const [id, title] = documentAt(one[0]);
    const label = el("div", { class: "label" }, ...Array.from({ length: level }, () => el("span", { class: "guide" })),
      el("span", { class: "twist" }, one[2] === false ? "\u2715" : "\u2013"),
      el("span", { class: "words", title: one[3] }, el("b", null, title || id), one[3] ? `  ${flat(one[3], 200)}` : one[2] === false ? "  rejected" : "  not judged"));
    return el("div", { class: `row ghost${one[2] === false ? " no" : ""}`, onclick: () => { state.rollout = null; go(state.at, at); } }, label);
  }

  function toggle(at) {
    if (state.open.has(at)) state.open.delete(at); else state.open.add(at);
    show(state.at);
  }

  function keys(event) {
    const { nodes, children } = state.data;
    const rows = [...byId("problem").querySelectorAll("[role=treeitem]")].map((one) => Number(one.dataset.node));
    const here = rows.indexOf(state.node);
    let next = null;
    if (event.key === "ArrowDown") next = rows[here + 1];
    else if (event.key === "ArrowUp") next = rows[here - 1];
    else if (event.key === "Home") next = rows[0];
    else if (event.key === "End") next = rows[rows.length - 1];
    else if (event.key === "ArrowRight") {
      if (!state.open.has(state.node) && children[state.node].length) { state.open.add(state.node); next = state.node; } else next = children[state.node][0];
    } else if (event.key === "ArrowLeft") {
      if (state.open.has(state.node) && children[state.node].length) { state.open.delete(state.node); show(state.at); refocus(); event.preventDefault(); return; }
      next = nodes[state.node].parent;
    } else return;
    event.preventDefault();
    if (next !== undefined && next !== null) { state.rollout = null; go(state.at, next); refocus(); }
  }
  const refocus = () => byId("problem").querySelector(".tree").focus();

  function mark() {
    for (const one of byId("problem").querySelectorAll(".visits [data-node]")) one.setAttribute("aria-pressed", String(Number(one.dataset.node) === state.node));
    for (const one of byId("problem").querySelectorAll("[data-rollout]")) {
      const at = Number(one.dataset.rollout);
      const pressed = state.rollout === null ? state.data.rollouts[at][0] === state.node : at === state.rollout;
      one.setAttribute("aria-pressed", String(pressed));
    }
  }

  function inSight() {
    const selected = byId("problem").querySelector("[aria-selected=true]");
    if (selected) selected.scrollIntoView({ block: "nearest" });
  }

  // One node.

  function detail() {
    const { nodes } = state.data;
    const node = nodes[state.node];
    const parent = node.parent === null ? null : nodes[node.parent];
    const uct = parent && node.n ? node.q / node.n + index.exploration * Math.sqrt(Math.log(Math.max(parent.n, 1)) / node.n) : null;
    const parts = [
      el("h2", null, tag(node.kind), `Node ${state.node}`, node.terminal ? el("span", { class: `badge ${node.reward > 0 ? "good" : "bad"}` }, node.reward > 0 ? "right" : "wrong") : null),
      el("p", { class: "whole" }, (node.parent === null ? problems[state.at].question : node.text) || "(empty)"),
      facts([
        ["Visits N", number(node.n)], ["Reward Q", figure(node.q, 1)], ["Mean Q/N", node.n ? figure(node.q / node.n) : "\u2013"],
        uct === null ? null : [`UCT (c = ${index.exploration})`, `${figure(node.q / node.n)} + ${figure(uct - node.q / node.n)} = ${figure(uct)}`],
        ["Depth", String(node.depth)],
        node.terminal ? ["Answer", el("span", { class: node.reward > 0 ? "gain" : "loss" }, node.answer ?? "none")] : null,
        node.terminal ? ["Right answer", problems[state.at].gold ?? "not known"] : null,
      ]),
    ];
    if (node.answers && node.answers.length > 1) {
      parts.push(el("h3", null, "Answers of the completions (the most frequent counts)"), el("p", { class: "whole" }, node.answers.map((said) => said ?? "none").join(",  ")));
    }
    if (node.considered) {
      const kept = node.considered.filter((one) => one[2] === true).length;
      const refused = node.considered.filter((one) => one[2] === false).length;
      parts.push(el("h3", null, `What the search brought: ${kept} kept, ${refused} rejected`), ...node.considered.map((one) => card(one, node.text)));
      if (!node.considered.length) parts.push(el("p", { class: "soft" }, "Nothing was found."));
    }
    if (node.kind === "rt") {
      const from = (parent && parent.considered || []).find((one) => one[0] === node.document);
      parts.push(el("h3", null, "The document as it was found"));
      parts.push(from ? card(from, parent.text) : el("p", { class: "soft" }, node.id || "not recorded"));
    }
    const above = way(state.node);
    parts.push(el("h3", null, "The way here"), el("ol", { class: "way" }, ...above.map((at) => el("li", null, tag(nodes[at].kind),
      el("button", { type: "button", "aria-current": at === state.node ? "true" : null, title: flat(nodes[at].text, 300), onclick: () => { state.rollout = null; go(state.at, at); } },
        at === 0 ? flat(problems[state.at].question) : flat(nodes[at].text) || "(empty)")))));
    const aside = byId("detail");
    aside.replaceChildren(...parts.filter(Boolean));
    aside.scrollTop = 0;
  }

  // Labels that a person corrects are kept in the browser until they are downloaded.

  const SHELF = `rader-labels ${document.title} ${location.pathname}`;
  const corrections = new Map();
  try {
    for (const row of JSON.parse(localStorage.getItem(SHELF) || "[]")) corrections.set(keyOf(row.problem_id, row.query, row.document_id), row);
  } catch { /* a browser that keeps nothing, or something else on the shelf: the page works all the same */ }

  function keyOf(problem, query, id) { return JSON.stringify([problem, query, id]); }

  function correct(query, id, relevant, was) {
    const problem = problems[state.at].id;
    const key = keyOf(problem, query, id);
    corrections.delete(key);
    if (relevant !== was) corrections.set(key, { problem_id: problem, query, document_id: id, relevant, was });
    keep();
  }

  function keep() {
    try { localStorage.setItem(SHELF, JSON.stringify([...corrections.values()])); } catch { /* see above */ }
    byId("labels").hidden = !corrections.size;
    byId("labels-count").textContent = plural(corrections.size, "corrected label");
  }

  function download() {
    const lines = [...corrections.values()].map((row) => JSON.stringify(row) + "\n");
    const address = URL.createObjectURL(new Blob(lines, { type: "application/x-ndjson" }));
    const link = el("a", { href: address, download: "labels.jsonl" });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  function discard() {
    corrections.clear();
    keep();
    if (state.at >= 0) follow();
  }

  function card(one, query) {
    const [place, score, given, reason, by] = one;
    const [id, title, text] = documentAt(place);
    const mine = corrections.get(keyOf(problems[state.at].id, query, id));
    const relevant = mine ? mine.relevant : given;
    const verdict = `${relevant === true ? "\u2713 " : relevant === false ? "\u2715 " : ""}${WORDS[relevant]}`;
    const made = el("div", { class: `card ${relevant === true ? "yes" : relevant === false ? "no" : ""}` },
      el("div", { class: "top" }, el("span", { class: "verdict" }, verdict), el("span", { class: "id" }, title ? `${title} (${id})` : id),
        score === null ? null : el("span", { class: "soft num", title: "score of the retriever" }, figure(score, 3))),
      mine ? el("p", { class: "reason" }, el("span", { class: "soft" }, `corrected by you; it was ${WORDS[given]}`)) :
        reason || by ? el("p", { class: "reason" }, reason, by && by !== "reflection" ? el("span", { class: "soft" }, `${reason ? "  " : ""}by ${by}`) : null) : null,
      text ? el("details", { open: true }, el("summary", null, "Text"), el("p", { class: "whole" }, text)) : null,
      el("div", { class: "choices", role: "group", "aria-label": `Label of ${id}` }, ...[true, false, null].map((label) =>
        el("button", { type: "button", "aria-pressed": String(relevant === label), onclick: () => {
          correct(query, id, label, given);
          const other = card(one, query);
          made.replaceWith(other);
          other.querySelector(`.choices [aria-pressed="true"]`).focus();
        } }, label === true ? "Relevant" : label === false ? "Not relevant" : "No label"))));
    return made;
  }

  // Trajectories without a tree.

  function paths(one) {
    const found = state.data.paths || [];
    const parts = [...head(one), one.gold === null ? null : facts([["Right answer", flat(one.gold, 300)]])];
    found.forEach((path, at) => {
      const verdict = path.reward === null ? ["plain", "not judged"] : path.reward >= 1 ? ["good", "right"] : ["bad", path.reward > 0 ? `reward ${figure(path.reward)}` : "wrong"];
      const searches = path.steps.filter((step) => step.kind === "retrieval").length;
      const fold = el("details", { class: "trajectory", ontoggle: () => { if (fold.open && !fold.querySelector(".steps")) fold.append(steps(path)); } },
        el("summary", null, el("span", null, path.id), el("span", { class: `badge ${verdict[0]}` }, verdict[1]),
          path.answer === null ? null : el("span", { class: "soft" }, `answer ${flat(path.answer, 80)}`),
          el("span", { class: "soft" }, [path.source, plural(path.steps.length, "step"), searches === 1 ? "1 search" : `${searches} searches`].filter(Boolean).join(", "))));
      if (at === 0) { fold.append(steps(path)); fold.open = true; }
      parts.push(fold);
    });
    byId("problem").replaceChildren(...parts.filter(Boolean));
  }

  function steps(path) {
    let query = "";
    return el("ol", { class: "steps" }, ...path.steps.map((step) => {
      const body = el("div");
      if (step.kind === "query") query = step.text;
      if (step.text || !["retrieval", "open"].includes(step.kind)) body.append(whole(step.text));
      if (step.kind === "open" && step.id) body.append(el("p", { class: "soft whole" }, `document ${step.id}`));
      if (step.kind === "retrieval") { body.append(...considered(step, query)); query = ""; }
      return el("li", null, tag(step.kind), body);
    }));
  }

  function considered(step, query) {
    const all = step.considered;
    const count = (label) => all.filter((one) => one[2] === label).length;
    const said = [true, false, null].map((label) => [count(label), WORDS[label]]).filter(([many]) => many).map(([many, what]) => `${many} ${what}`).join(", ");
    if (!all.length) return [el("p", { class: "soft whole" }, step.id ? `document ${step.id}` : "nothing was found")];
    if (all.length <= 3) return all.map((one) => card(one, query));
    return [el("details", { class: "more", open: true }, el("summary", null, `${plural(all.length, "document")}: ${said}`), ...all.map((one) => card(one, query)))];
  }

  // What is shown stands in the address, so that it can be kept and gone back to.

  function go(at, node) {
    const parts = new URLSearchParams({ problem: problems[at].id });
    if (node !== undefined) parts.set("node", String(node));
    const wanted = `#${parts}`;
    if (location.hash === wanted) show(at, node); else location.hash = wanted;
  }

  function follow() {
    const parts = new URLSearchParams(location.hash.slice(1));
    const at = problems.findIndex((one) => one.id === parts.get("problem"));
    const node = parts.get("node");
    if (problems.length) show(Math.max(at, 0), node === null ? undefined : Number(node));
    else byId("problem").replaceChildren(el("p", { class: "soft" }, "There are no problems in here."));
  }

  byId("labels-download").addEventListener("click", download);
  byId("labels-discard").addEventListener("click", discard);
  keep();
  totals();
  filters();
  list();
  byId("find").addEventListener("input", list);
  addEventListener("hashchange", follow);
  addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement.tagName !== "INPUT") { event.preventDefault(); byId("find").focus(); }
  });
  follow();
})();
