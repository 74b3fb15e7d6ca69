// Hands: mouse, keys, buttons, and the address.

const tip = $("tip");

/** Moments worth a look, in order of time. */
function moments() {
  const found = [];
  for (const j of broken) for (const e of j.events) found.push({ at: run.at[e], to: run.at[e], e, words: `✖ ${j.name}` });
  for (const s of steps) found.push({ at: s.at, to: s.at, e: s.e, words: s.words });
  for (const o of run.outages) {
    const e = Math.max(0, above(run.at, o.from) - 1);
    found.push({ at: o.from, to: o.to, e, words: `${writes(o)} out for ${seconds(o.to - o.from)}` });
  }
  for (const e of ofKind("opened", "branched")) {
    const name = run.who[e] >= 0 ? run.lanes[run.who[e]].name : "";
    if (kindOf(e) === "opened") found.push({ at: run.at[e], to: run.at[e], e, words: `${name} accepts writes` });
  }
  return found.sort((a, b) => a.at - b.at || a.e - b.e);
}
const all = moments();

function goTo(moment) {
  if (!moment) return;
  const spare = Math.max((moment.to - moment.at) * 0.15, 400000);
  view.setTimes(moment.at - spare, moment.to + spare);
  choose(moment.e);
  $("jump").value = all.indexOf(moment);
}
function goBy(direction) {
  const chosen = +$("jump").value;
  const known = $("jump").value !== "" && all[chosen] && all[chosen].at === here.at ? chosen : undefined;
  const i = known !== undefined ? known + direction : direction > 0 ? all.findIndex((m) => m.at > here.at) : all.findLastIndex((m) => m.at < here.at);
  goTo(all[i]);
}

function setStretch(on) {
  const [from, to] = [scale.time(view.from), scale.time(view.to)];
  scale.set(on);
  $("stretch").setAttribute("aria-pressed", on);
  view.setTimes(from, to);
}

/** The whole story; how the nodes joined is left of it. */
function home() {
  const began = run.began ?? 0;
  view.setTimes(began > END * 0.04 ? began - (END - began) * 0.02 : 0, END);
}

/** Whose lane is at a height. */
function laneAt(clientY) {
  const y = clientY - chart.getBoundingClientRect().top;
  if (y >= layout.monitor && y < layout.nodes) return "monitor";
  return run.lanes[Math.floor((y - layout.nodes) / NODE)]?.name;
}

function tellTip(event) {
  const found = event.target.closest("[data-e]");
  const x = event.clientX - chart.getBoundingClientRect().left;
  const hover = $("hover");
  const inside = x >= view.left;
  if (hover) hover.innerHTML = inside ? vertical(x, AXIS, layout.height, "hover") + text(Math.min(x + 4, view.left + view.width - 60), layout.height - 3, seconds(view.time(x)), "soft") : "";
  if (!found) { tip.hidden = true; return; }
  const e = +found.dataset.e;
  const state = found.dataset.state && states[found.dataset.state];
  const said = found.dataset.say ? `<p><b>${esc(found.dataset.say)}</b></p>` : "";
  const own = found.dataset.outage ? "" : `<p>${esc(words(e))}</p>`;
  const trouble = inside ? troubleAt(laneAt(event.clientY), view.time(x)) : "";
  tip.innerHTML = said + (trouble ? `<p>${trouble}</p>` : "") + own + (state ? `<p class="soft-text">${esc(state.name)}: ${esc(state.meaning)}</p>` : "");
  tip.hidden = false;
  const [w, h] = [tip.offsetWidth, tip.offsetHeight];
  tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - w - 8)) + "px";
  tip.style.top = (event.clientY + 18 + h > innerHeight ? Math.max(4, event.clientY - h - 12) : event.clientY + 18) + "px";
}

let drag;
chart.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  const x = event.clientX - chart.getBoundingClientRect().left;
  drag = { x, moved: false, from: view.from, to: view.to, area: event.shiftKey, target: event.target };
});
addEventListener("pointermove", (event) => {
  if (!drag) { if (chart.contains(event.target)) tellTip(event); return; }
  const x = event.clientX - chart.getBoundingClientRect().left;
  if (Math.abs(x - drag.x) > 4) drag.moved = true;
  if (!drag.moved) return;
  tip.hidden = true;
  if (drag.area) {
    $("hover").innerHTML = rect(Math.min(x, drag.x), AXIS, Math.abs(x - drag.x), layout.height - AXIS, 'class="area"');
    return;
  }
  chart.classList.add("drags");
  const by = ((x - drag.x) / view.width) * (drag.to - drag.from);
  view.set(drag.from - by, drag.to - by);
});
addEventListener("pointerup", (event) => {
  if (!drag) return;
  const { moved, area, x: from, target } = drag;
  drag = undefined;
  chart.classList.remove("drags");
  const x = event.clientX - chart.getBoundingClientRect().left;
  if (moved && area) view.setTimes(view.time(Math.min(x, from)), view.time(Math.max(x, from)));
  if (moved) return;
  const lane = run.lanes.findIndex((l) => l.name === laneAt(event.clientY));
  const found = target.closest("[data-e]");
  if (found) choose(+found.dataset.e);
  else if (x < view.left) { here.lane = here.lane === lane ? -1 : lane; draw(); }
  else { Object.assign(here, { at: Math.round(view.time(x)), event: -1 }); draw(); tellNow(); }
});
chart.addEventListener("pointerleave", () => { tip.hidden = true; if ($("hover") && !drag) $("hover").innerHTML = ""; });
chart.addEventListener("dblclick", (event) => view.zoom(0.4, event.clientX - chart.getBoundingClientRect().left));
chart.addEventListener("wheel", (event) => {
  const sideways = event.shiftKey ? event.deltaY : event.deltaX;
  if (event.ctrlKey || event.metaKey) view.zoom(Math.exp(Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 80) * 0.005), event.clientX - chart.getBoundingClientRect().left);
  else if (sideways) view.pan(sideways / view.width);
  else return;
  event.preventDefault();
}, { passive: false });

const KEYS = {
  ArrowRight: () => go(1),
  ArrowLeft: () => go(-1),
  ArrowDown: () => { here.lane = Math.min(here.lane + 1, run.lanes.length - 1); draw(); sayLane(); },
  ArrowUp: () => { here.lane = Math.max(here.lane - 1, -1); draw(); sayLane(); },
  "+": () => view.zoom(0.6, zoomAt()), "=": () => view.zoom(0.6, zoomAt()),
  "-": () => view.zoom(1 / 0.6, zoomAt()),
  0: home, Home: () => choose(0), End: () => choose(run.at.length - 1),
  "[": () => goBy(-1), "]": () => goBy(1),
  s: () => setStretch(!scale.stretched), S: () => setStretch(!scale.stretched),
  Enter: () => { if (here.event >= 0) { linesBox.focus(); linesBox.scrollIntoView({ block: "nearest" }); } },
  Escape: () => { tip.hidden = true; here.lane = -1; draw(); },
};
const zoomAt = () => (visible(here.at, here.at) ? view.x(here.at) : undefined);
const sayLane = () => { $("said").textContent = here.lane < 0 ? "all lanes" : "lane " + run.lanes[here.lane].name; };
chart.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const pan = event.shiftKey && { ArrowRight: 0.25, ArrowLeft: -0.25 }[event.key];
  const act = pan ? () => view.pan(pan) : KEYS[event.key];
  if (!act || !run.at.length) return;
  event.preventDefault();
  act();
});

overview.addEventListener("pointerdown", (event) => {
  overview.setPointerCapture(event.pointerId);
  const move = (e) => {
    const place = (e.clientX - overview.getBoundingClientRect().left - view.left) / view.width;
    const half = (view.to - view.from) / 2;
    view.set(place - half, place + half);
  };
  move(event);
  overview.onpointermove = move;
  overview.onpointerup = () => { overview.onpointermove = overview.onpointerup = null; };
});

function setLegend() {
  const used = new Set(run.lanes.flatMap((l) => l.states.flatMap((s) => [s.reported, s.goal])));
  const items = run.states.filter((s) => used.has(s.name)).map((s) => `<li title="${esc(s.meaning)}"><span class="key s-${s.name}">${s.name}</span></li>`);
  const sign = (inner, words) => items.push(`<li><svg viewBox="0 0 26 14">${inner}</svg>${words}</li>`);
  sign(rect(0, 5, 26, 5, 'class="open"'), "its server accepts writes");
  sign(rect(0, 0, 26, 9, `fill="${states.secondary.colour}"`) + rect(0, 9, 26, 5, `fill="${states.report_lsn.colour}"`), "state, below it the goal");
  sign(rect(0, 0, 26, 14, 'class="hatch"'), "dead, stopped or frozen");
  sign(rect(0, 6, 26, 3, 'class="part"'), "a link, disk or part of it is broken");
  sign('<line x1="0" x2="26" y1="7" y2="7" class="unwell"/>', "doesn't answer the monitor");
  sign('<path d="M13 3l5 8h-10z" class="mark"/>', "a rule fired (its number)");
  sign(text(7, 12, "◆"), "promoted");
  sign(text(7, 12, "▾"), "receives WAL from another");
  sign(text(7, 12, "⟲"), "directory replaced");
  sign(rect(0, 4, 26, 10, 'class="ack"'), "writes acknowledged a second");
  if (run.warned.length) sign(rect(0, 4, 26, 10, 'class="warned"'), "with a warning: no standby has it");
  sign(rect(0, 0, 26, 14, 'class="out"'), "writes out");
  sign(rect(11, 4, 3, 8, 'class="failed"'), "a write failed");
  sign(text(7, 12, "✖", "bad"), "a check broke here");
  $("legend").innerHTML = items.join("");
}

function fromAddress() {
  const e = /^#L(\d+)$/.test(location.hash) ? +location.hash.slice(2) - 1 : -1;
  if (e >= 0 && e < run.at.length) choose(e, { address: false });
  return e >= 0 && e < run.at.length;
}

$("fit").onclick = home;
$("in").onclick = () => view.zoom(0.5, zoomAt());
$("out").onclick = () => view.zoom(2, zoomAt());
$("stretch").onclick = () => setStretch(!scale.stretched);
$("before").onclick = () => goBy(-1);
$("after").onclick = () => goBy(1);
$("jump").innerHTML = `<option value="">a moment (${all.length})</option>` + all.map((m, i) => `<option value="${i}">${seconds(m.at)}  ${esc(m.words)}</option>`).join("");
$("jump").onchange = () => goTo(all[+$("jump").value]);
for (const a of document.querySelectorAll("li.broken a")) a.onclick = (event) => { event.preventDefault(); goTo(all.find((m) => m.e === +a.hash.slice(2) - 1)); };
addEventListener("hashchange", fromAddress);
addEventListener("resize", draw);

brokenEvents.forEach((e) => line(e).classList.add("broken"));
lost.forEach((e) => line(e).classList.add("broken"));
setFilters();
scale.set(true);
setLegend();
home();
if (run.at.length && !fromAddress()) {
  // What broke; else where writes were out longest; else where the story begins.
  const longest = [...run.outages].sort((a, b) => b.to - b.from - (a.to - a.from))[0];
  const first = brokenEvents[0] ?? (longest ? Math.max(0, above(run.at, longest.from) - 1) : steps[0]?.e ?? 0);
  choose(first, { address: false });
}
// A browser scrolls to the line that the address names; the chart above it belongs to it.
if (here.event >= 0 && location.hash) addEventListener("load", () => setTimeout(() => $("view").scrollIntoView()));
document.body.dataset.ready = "yes";
