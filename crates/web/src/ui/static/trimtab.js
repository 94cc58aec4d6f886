// Trimtab's only script: keeps a page current while one looks at it. Every page works without it.
"use strict";
(() => {
  const live = document.getElementById("live");
  const address = document.body.dataset.events;

  // "4 min ago" instead of a date; the date stays in the title.
  const steps = [[60, "s"], [60, "min"], [24, "h"], [30, "d"], [12, "months"], [Infinity, "years"]];
  function ago(date) {
    let value = (Date.now() - date) / 1000;
    // A window opens at its time, not in so many days.
    if (value < -5) return undefined;
    if (value < 5) return "just now";
    for (const [size, unit] of steps) {
      if (value < size) return `${Math.floor(value)} ${unit} ago`;
      value /= size;
    }
  }
  function tellTimes() {
    for (const time of document.querySelectorAll("time")) {
      time.title ||= time.textContent;
      const text = ago(new Date(time.dateTime)) ?? time.title;
      if (time.textContent !== text) time.textContent = text;
    }
  }

  // Makes one tree like another and keeps what is equal: focus, open disclosures, typed text and scrolling survive.
  function morph(old, now) {
    if (old.hasAttribute("data-keep")) return;
    for (const { name } of [...old.attributes])
      if (!now.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    for (const { name, value } of now.attributes)
      if (old.getAttribute(name) !== value && name !== "open") old.setAttribute(name, value);
    if (old.localName === "time" && old.title) {
      old.title = now.textContent;
      return;
    }
    const [before, after] = [[...old.childNodes], [...now.childNodes]];
    after.forEach((node, index) => {
      const at = before[index];
      if (!at) old.append(node);
      else if (at.nodeName !== node.nodeName || at.id !== node.id) at.replaceWith(node);
      else if (at.nodeType === Node.ELEMENT_NODE) morph(at, node);
      else if (at.nodeValue !== node.nodeValue) {
        at.nodeValue = node.nodeValue;
        if (old.matches(".badge, .build")) old.classList.add("fresh");
      }
    });
    before.slice(after.length).forEach((node) => node.remove());
  }

  // One request at a time; what changes meanwhile is fetched after it.
  let busy = false, again = false, version = null;
  async function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const headers = { Accept: "text/html" };
      // What is on the page already is not sent again.
      if (version) headers["If-None-Match"] = version;
      const answer = await fetch(location.href, { headers });
      if (answer.status === 401) { location.reload(); return; }
      const page = answer.ok && new DOMParser().parseFromString(await answer.text(), "text/html");
      const main = page && page.querySelector("main");
      if (main) {
        morph(document.querySelector("main"), main);
        version = answer.headers.get("ETag");
        tellTimes();
        followLogs();
      }
    } catch { /* the event stream says when the server is back */ }
    setTimeout(() => {
      busy = false;
      if (again) { again = false; refresh(); }
    }, 100);
  }

  let events = null;
  function say(text, on) {
    live.textContent = text;
    live.classList.toggle("on", on);
  }
  function connect() {
    if (!address || events) return;
    events = new EventSource(address);
    events.onopen = () => say("Live", true);
    events.onmessage = refresh;
    events.onerror = () => {
      const over = events.readyState === EventSource.CLOSED;
      say(over ? "Not live: reload the page" : "Connecting…", false);
    };
  }

  // Logs: the whole stream, as text, followed while its end is in sight.
  const MAX = 1 << 20;
  const logs = new Map();
  async function follow(log) {
    const stop = new AbortController();
    logs.set(log, stop);
    try {
      const answer = await fetch(log.dataset.stream, { signal: stop.signal });
      if (!answer.ok) return;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (let part; !(part = await reader.read()).done;) {
        const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 40;
        text = (text + part.value).slice(-MAX);
        log.textContent = text;
        if (atEnd) log.scrollTop = log.scrollHeight;
      }
    } catch { /* stopped, or the server went away */ }
  }
  function followLogs() {
    for (const [log, stop] of logs) if (!log.isConnected) { stop.abort(); logs.delete(log); }
    for (const log of document.querySelectorAll("[data-stream]")) if (!logs.has(log)) follow(log);
  }

  // A browser has few connections per host: pages that nobody looks at give theirs back.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      events?.close();
      events = null;
      for (const stop of logs.values()) stop.abort();
      logs.clear();
    } else {
      connect();
      followLogs();
    }
  });

  document.addEventListener("animationend", (event) => event.target.classList.remove("fresh"));
  document.querySelector("form[data-submit]")?.requestSubmit();
  tellTimes();
  setInterval(tellTimes, 15000);
  connect();
  followLogs();
})();
