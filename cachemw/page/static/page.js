"use strict";
// Everything is there without this: it logs in by the address, keeps the times and figures of a page up, and adds rows.
const find = (selector, inside = document) => inside.querySelector(selector);
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];

// The token in the address, traded for a cookie and taken out of the address.
const trade = async () => {
  const token = new URLSearchParams(location.hash.slice(1)).get("t");
  const form = find("[data-session]");
  if (token === null) return;
  history.replaceState(null, "", location.pathname + location.search);
  if (!form) return;
  const answer = await fetch(form.dataset.session, { method: "POST", body: new URLSearchParams({ token }), redirect: "manual" });
  if (answer.type === "opaqueredirect") location.reload();
  else find("#wrong").hidden = false;
};
addEventListener("hashchange", trade);
trade();

// Light or dark: as the system has it, until somebody chooses.
find("#theme")?.addEventListener("click", () => {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  document.cookie = `cachemw-theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=strict`;
});

// Keys: "/" goes to the filter, "g" and a letter to a view.
let isGoing = false;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  const place = { n: "/", t: "/traffic", m: "/misses", w: "/why", s: "/store", p: "/spend" }[event.key];
  if (isGoing && place && find(".top nav")) location.assign(place);
  isGoing = event.key === "g";
  const filter = find("[data-filter]");
  if (event.key === "/" && filter) {
    event.preventDefault();
    filter.focus();
    filter.select?.();
  }
});

// A form of filters leaves out of the address what is not set.
all("form.filters").forEach((form) =>
  form.addEventListener("formdata", (event) => [...event.formData].forEach(([name, value]) => value || event.formData.delete(name))),
);

// Relative times go on.
const UNITS = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
const ago = (seconds) => {
  const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? ["", 0];
  return size ? `${Math.floor(seconds / size)}\u202f${unit} ago` : "now";
};
const tell = () => all("time[data-ago]").forEach((time) => (time.textContent = ago((Date.now() - Number(time.dataset.ago)) / 1000)));
setInterval(tell, 5000);

// Figures and charts: the same page once more, of which the parts that change are taken over.
const refreshed = find("[data-refresh]");
if (refreshed) {
  setInterval(async () => {
    if (document.hidden) return;
    const answer = await fetch(location.href, { headers: { accept: "text/html" } }).catch(() => null);
    if (!answer?.ok) return;
    const other = new DOMParser().parseFromString(await answer.text(), "text/html");
    all("[data-live]").forEach((part) => {
      const next = other.getElementById(part.id);
      if (next && !part.contains(document.activeElement)) part.replaceWith(document.adoptNode(next));
    });
  }, Number(refreshed.dataset.refresh) * 1000);
}

// Rows, as they are written down. A row is a copy of the template, in which texts stand where they belong.
const table = find("[data-rows]");
if (table) {
  const body = find("tbody", table), sign = find("#live"), more = find("#more"), pause = find("#pause");
  let events = null, missed = 0, last = table.dataset.after;
  const fill = (row) => {
    const made = find("#row").content.firstElementChild.cloneNode(true);
    for (const cell of all("[data-cell]", made)) {
      const value = row[cell.dataset.cell];
      cell.textContent = value ?? "";
      if (cell.dataset.cell === "time") cell.title = row.moment;
      if (cell.dataset.cell === "outcome") cell.className = `tag ${row.kind}`;
    }
    for (const link of all("[data-link]", made)) {
      if (row[link.dataset.link]) link.href = row[link.dataset.link];
      else link.replaceWith(...link.childNodes);
    }
    made.className = "fresh";
    return made;
  };
  const say = (word, isOn) => {
    find("span", sign).textContent = word;
    sign.toggleAttribute("data-on", isOn);
  };
  const listen = () => {
    const query = new URLSearchParams(table.dataset.query);
    query.set("after", last);
    events = new EventSource(`/live?${query}`);
    events.onopen = () => say("Live", true);
    events.onerror = () => say("Not connected: is cachemw page running?", false);
    events.addEventListener("rows", (event) => {
      const { rows, left_out } = JSON.parse(event.data);
      last = event.lastEventId;
      body.prepend(...rows.map(fill));
      while (body.rows.length > Number(table.dataset.rows)) body.lastElementChild.remove();
      missed += left_out;
      more.hidden = !missed;
      more.textContent = `${missed.toLocaleString("en")} more came meanwhile: too fast to show each. Reload to page through them.`;
      table.hidden = false;
      const empty = find("#empty");
      if (empty) empty.hidden = true;
    });
  };
  pause?.addEventListener("click", () => {
    if (events) events.close();
    events = events ? null : listen();
    const isOn = pause.getAttribute("aria-pressed") === "true";
    pause.setAttribute("aria-pressed", String(!isOn));
    pause.textContent = isOn ? "Pause" : "Go on";
    if (!isOn) say("Paused", false);
  });
  listen();
}
