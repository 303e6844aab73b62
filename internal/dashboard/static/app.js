// What pages do by themselves: copy, live rows, keys, plots. Everything else is
// htmx, and works on what the server sends.
"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Light and dark: a cookie, so that the server renders it and nothing flashes.
  function dark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }
  $("#theme")?.addEventListener("click", () => {
    const next = dark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    document.cookie = `switchhook_theme=${next}; path=/; max-age=31536000; samesite=lax`;
    drawPlots();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawPlots());

  // Copy.
  async function copy(text, button) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Without TLS a browser gives no clipboard: the old way.
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    if (!button) return;
    const was = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = was; }, 1500);
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy], [data-copy-text], [data-dialog]");
    if (!button || button.tagName !== "BUTTON") return;
    if (button.dataset.dialog) $("#" + button.dataset.dialog).showModal();
    else copy(button.dataset.copyText ?? $(button.dataset.copy).textContent, button);
  });

  // Times that say how long ago keep saying it.
  function long(s) {
    if (s < 60) return `${Math.floor(s)} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min`;
    if (s < 172800) return `${Math.floor(s / 3600)} h`;
    return `${Math.floor(s / 86400)} d`;
  }
  function refreshTimes() {
    const now = Date.now();
    for (const t of all("time[data-ago]")) {
      const at = Date.parse(t.dateTime);
      if (!(at > 0)) continue;
      const s = (now - at) / 1000;
      const text = Math.abs(s) < 1 ? "now" : s < 0 ? "in " + long(-s) : long(s) + " ago";
      if (t.textContent !== text) t.textContent = text;
    }
  }
  setInterval(refreshTimes, 1000);

  // Live rows, by server-sent events.
  let stream = null, streamed = null;
  const maxRows = 200;
  function connect() {
    const url = $("#log")?.dataset.live ?? null;
    const state = $("#live");
    if (url === streamed && stream) return;
    stream?.close();
    stream = null;
    streamed = url;
    if (!state) return;
    if (!url) {
      state.textContent = $("#log") ? "Live on the newest page, without a text" : "";
      return;
    }
    if (document.hidden) return;
    state.textContent = "Connecting…";
    stream = new EventSource(url);
    stream.addEventListener("ready", () => { state.innerHTML = '<span class="live-dot"></span>Live'; });
    stream.onerror = () => { state.textContent = "The connection was lost: trying again…"; };
    stream.addEventListener("row", (event) => show(event.data, true));
    stream.addEventListener("still", (event) => show(event.data, false));
    stream.addEventListener("gone", (event) => document.getElementById(event.data)?.remove());
    stream.addEventListener("more", (event) => {
      state.innerHTML = '<span class="live-dot"></span>Live; too fast to show all';
    });
  }
  function show(html, fresh) {
    const template = document.createElement("template");
    template.innerHTML = html;
    const row = template.content.firstElementChild;
    const old = document.getElementById(row.id);
    if (fresh || !old) row.classList.add("fresh");
    if (old) {
      if (old.classList.contains("here")) row.classList.add("here");
      const focused = old.contains(document.activeElement);
      old.replaceWith(row);
      if (focused) $("a.main", row)?.focus();
      return;
    }
    const body = $("#log tbody");
    if (!body) return;
    body.prepend(row);
    $("#log .empty").hidden = true;
    while (body.rows.length > maxRows) body.rows[body.rows.length - 1].remove();
  }
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { stream?.close(); stream = null; } else { streamed = undefined; connect(); }
  });

  // What htmx brought in.
  document.addEventListener("htmx:afterSettle", (event) => {
    connect();
    refreshTimes();
    const now = $("[data-copy-now]", event.detail.elt);
    if (now) {
      copy(now.textContent, $('[data-copy="#curl-text"]'));
      delete now.dataset.copyNow;
      now.removeAttribute("data-copy-now");
    }
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.successful && event.detail.elt.matches("[data-clear]")) event.detail.elt.reset();
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.requestConfig.verb === "post") $("#notice").replaceChildren();
  });
  // A part that renews itself waits while somebody is in it: what is open or typed
  // into would be gone.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.requestConfig.verb !== "get") return;
    const target = event.detail.target;
    if (target.id === "state" && (target.contains(document.activeElement) || $("details.verify[open]", target))) event.detail.shouldSwap = false;
  });

  // Keys.
  const goTo = { n: "/", d: "/deliveries", a: "/agents", c: "/conversations", r: "/replay" };
  let going = false;
  function move(step) {
    const links = all("a.main");
    if (!links.length) return;
    const at = links.findIndex((l) => l.closest("tr, li").classList.contains("here"));
    const next = links[Math.min(links.length - 1, Math.max(0, at < 0 ? 0 : at + step))];
    all(".here").forEach((x) => x.classList.remove("here"));
    next.closest("tr, li").classList.add("here");
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog[open]")) return;
    if (going && goTo[event.key]) { location.assign(goTo[event.key]); return; }
    going = event.key === "g";
    if (going) setTimeout(() => { going = false; }, 1500);
    if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else if (event.key === "/" && $("#text")) { event.preventDefault(); $("#text").focus(); }
    else if (event.key === "?") $("#keys-help")?.showModal();
  });

  // Plots.
  let data = null, plots = [];
  const lines = { perSecond: "--plot", success: "--plot", pending: "--plot", p50: "--plot", p99: "--plot-2" };
  function colour(name) {
    // light-dark() is resolved only where it is used as a colour.
    const probe = document.createElement("span");
    probe.className = "probe" + name;
    document.body.append(probe);
    probe.style.color = `var(${name})`;
    const c = getComputedStyle(probe).color;
    probe.remove();
    return c;
  }
  function number(v) {
    if (v == null) return "–";
    return v >= 100 ? Math.round(v).toLocaleString("en") : v >= 10 ? v.toFixed(1) : v.toFixed(2);
  }
  function drawPlots() {
    if (!data || typeof uPlot === "undefined") return;
    plots.forEach((p) => p.destroy());
    const text = colour("--faint"), grid = colour("--line");
    const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    plots = all("[data-plot]").map((place) => {
      const names = place.dataset.plot.split(" ");
      const read = $(".read", place.closest("figure"));
      const values = [data.time, ...names.map((n) => data[n])];
      const last = names.map((n) => data[n].findLast((v) => v != null));
      place.setAttribute("aria-label", place.getAttribute("aria-label").split(": now")[0] + ": now " + last.map(number).join(" and "));
      return new uPlot({
        width: place.clientWidth, height: place.clientHeight, legend: { show: false }, cursor: { y: false },
        tzDate: (ts) => uPlot.tzDate(new Date(ts * 1000), "Etc/UTC"),
        scales: { y: { range: (_, low, high) => place.dataset.plot === "success" ? [Math.max(0, Math.min(99, Math.floor(low) - 1)), 100] : [0, Math.max(1, high * 1.1)] } },
        axes: [{ ...axis, size: 28, values: [[3600, "{HH}:{mm}", null, null, null, null, null, null, 1], [60, "{HH}:{mm}", null, null, null, null, null, null, 1], [1, "{HH}:{mm}:{ss}", null, null, null, null, null, null, 1]] }, { ...axis, size: 54 }],
        series: [{}, ...names.map((n) => ({ stroke: colour(lines[n]), width: 2, spanGaps: false, points: { size: 4 } }))],
        hooks: { setCursor: [(u) => {
          const i = u.cursor.idx;
          read.textContent = i == null ? "" : new Date(data.time[i] * 1000).toISOString().slice(11, 16) + ": " + names.map((n) => number(data[n][i])).join(" / ");
        }] },
      }, values, place);
    });
  }
  async function loadPlots() {
    const place = $("[data-series]");
    if (!place || document.hidden) return;
    try {
      const answer = await fetch(place.dataset.series, { headers: { Accept: "application/json" } });
      if (!answer.ok || answer.redirected) return;
      data = await answer.json();
      if (plots.length) plots.forEach((p, i) => p.setData([data.time, ...all("[data-plot]")[i].dataset.plot.split(" ").map((n) => data[n])]));
      else drawPlots();
      place.dataset.drawn = String(Number(place.dataset.drawn ?? 0) + 1);
    } catch { /* the server is away: the next try is in some seconds */ }
  }
  if ($("[data-series]")) {
    setInterval(loadPlots, 10000);
    new ResizeObserver(() => all("[data-plot]").forEach((place, i) => plots[i]?.setSize({ width: place.clientWidth, height: place.clientHeight }))).observe($("[data-series]"));
    addEventListener("load", loadPlots);
  }
  connect();
  refreshTimes();
})();
