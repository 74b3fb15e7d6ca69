// The chart: steps, clients, monitor, a lane for each node. Drawn anew for each change of what is shown.

const chart = $("chart");
const overview = $("overview");
const AXIS = 22, STEP_ROW = 17, STEP_ROWS = 7, WRITES = 46, MONITOR = 46, NODE = 64;
const layout = { steps: AXIS, writes: 0, monitor: 0, nodes: 0, height: 0 };
/** What the reader looks at: an instant, the event there, and the lane the arrow keys keep to (-1: all). */
const here = { at: 0, event: -1, lane: -1 };

const rect = (x, y, w, h, rest) => `<rect x="${x.toFixed(2)}" y="${y}" width="${Math.max(w, 0).toFixed(2)}" height="${h}" ${rest}/>`;
const text = (x, y, words, cls = "", rest = "") => `<text x="${x.toFixed(1)}" y="${y}" class="${cls}" ${rest}>${esc(words)}</text>`;
const vertical = (x, y, to, cls) => `<line x1="${x.toFixed(2)}" x2="${x.toFixed(2)}" y1="${y}" y2="${to}" class="${cls}"/>`;
const tells = (e, say = "") => `data-e="${e}"` + (say ? ` data-say="${esc(say)}"` : "");
const canvas = document.createElement("canvas").getContext("2d");
canvas.font = "11px system-ui, sans-serif";
const widths = new Map();
function wide(words) {
  if (!widths.has(words)) widths.set(words, canvas.measureText(words).width);
  return widths.get(words);
}
/** As much of some words as fits, or nothing. */
function fitting(words, room) {
  if (wide(words) <= room) return words;
  if (room < 24) return "";
  return words.slice(0, Math.floor((room - 8) / (wide(words) / words.length))) + "…";
}

/** A stretch cut to what is shown: left edge and width, nothing when it is elsewhere. */
function visible(from, to) {
  const [a, b] = [Math.max(view.x(from), view.left), Math.min(view.x(to), view.left + view.width)];
  return b < view.left || a > view.left + view.width || b < a ? undefined : [a, b - a];
}

const happened = run.at.map((_, e) => e);
const ofKind = (...kinds) => happened.filter((e) => kinds.includes(kindOf(e)));
const steps = ofKind("step").map((e) => ({ e, at: run.at[e], words: line(e).textContent.replace(/^[^[]*\[|\]$/g, ""), trouble: run.trouble.filter((t) => t.event === e) }));
const acks = ofKind("acked");
const ackTimes = acks.map((e) => run.at[e]);
const fails = ofKind("not_acked");
const broken = run.judged.filter((j) => j.status === "broken");
const brokenEvents = [...new Set(broken.flatMap((j) => j.events))].sort((a, b) => a - b);
const lost = new Set(run.lost);
const warned = new Set(run.warned);
const rules = happened.filter((e) => run.rule[e]);
const turns = ofKind("branched", "received", "rebuilt");
const TURN = { branched: "◆", received: "▾", rebuilt: "⟲" };

/** Steps in rows, so that no words lie on others. */
function packed() {
  const ends = [];
  const shown = [];
  for (const step of steps) {
    const until = Math.max(step.at, ...step.trouble.map((t) => t.to));
    const span = visible(step.at, until);
    if (!span) continue;
    const [x, w] = span;
    const need = Math.max(w, wide(step.words) + 14);
    let row = ends.findIndex((end) => end <= x);
    if (row < 0) row = ends.length;
    if (row < STEP_ROWS) ends[row] = x + need + 6;
    shown.push({ ...step, x, w, row: Math.min(row, STEP_ROWS), cut: view.x(step.at) < view.left });
  }
  return { shown, rows: Math.max(1, Math.min(ends.length, STEP_ROWS)) };
}

function drawSteps(packs) {
  let out = "";
  for (const s of packs.shown) {
    const y = layout.steps + 3 + Math.min(s.row, STEP_ROWS - 1) * STEP_ROW;
    const crowded = s.row >= STEP_ROWS;
    if (s.w > 2 && !crowded) out += rect(s.x, y, s.w, STEP_ROW - 3, `rx="2" class="step-bar" ${tells(s.e)}`);
    if (!s.cut) out += `<path d="M${s.x.toFixed(1)} ${y}v${STEP_ROW - 3}l6 -${(STEP_ROW - 3) / 2}z" class="step-dot" ${tells(s.e)}/>`;
    if (!crowded) out += text(s.x + 9, y + 11, s.words, "step-text");
  }
  return out;
}

/** Whose writes an outage is about. */
const writes = (o) => (o.beside ? `writes to formation ${run.groups[1].formation}` : "writes");

function drawWrites() {
  const [y, h] = [layout.writes, WRITES];
  const base = y + h - 8;
  let out = "";
  for (const o of run.outages) {
    const span = visible(o.from, o.to);
    if (!span) continue;
    const e = acks[above(ackTimes, o.to) - 1] ?? acks[0] ?? 0;
    const say = `${writes(o)} out for ${seconds(o.to - o.from)}, from ${seconds(o.from)} to ${seconds(o.to)}${o.step ? ", after: " + o.step : ""}`;
    out += rect(span[0], y + 3, Math.max(span[1], 1), h - 6, `class="out" data-outage="1" ${tells(e, say)}`);
    const words = `out ${seconds(o.to - o.from)}`;
    if (span[1] > wide(words) + 4) out += text(span[0] + span[1] / 2, y + 26, words, "out-text", 'text-anchor="middle"');
  }
  out += drawRates(y, base, h);
  for (const e of fails) if (visible(run.at[e], run.at[e])) out += rect(view.x(run.at[e]) - 1, base + 1, 2, 5, `class="failed" ${tells(e)}`);
  for (const e of run.lost) if (visible(run.at[e], run.at[e])) out += rect(view.x(run.at[e]) - 1, y + 2, 2, h - 9, `class="lost" ${tells(e, "this acknowledged write is lost or given up")}`);
  return out;
}

/** Writes a second, in bars of three pixels. */
function drawRates(y, base, h) {
  const bars = [];
  for (let x = view.left; x < view.left + view.width; x += 3) {
    const [from, to] = [view.time(x), view.time(x + 3)];
    const [a, b] = [above(ackTimes, from), above(ackTimes, to)];
    // Between the last one before the bar and the first one behind it: a bar may be shorter than one write.
    const [before, behind] = [ackTimes[a - 1] ?? from, ackTimes[b] ?? to];
    const out = b === a && run.outages.some((o) => o.from <= from && to <= o.to);
    if (out || a === ackTimes.length || (b === a && a === 0)) continue;
    const unsure = acks.slice(a, b).filter((e) => warned.has(e)).length;
    bars.push({ x, n: b - a, unsure, rate: (b - a + 1) / Math.max(behind - before, 1), e: acks[Math.min(a, acks.length - 1)], from, to });
  }
  const rates = bars.map((b) => b.rate).sort((a, b) => a - b);
  const most = rates[rates.length >> 1] * 1.25 || 1;
  return bars.map((b) => {
    const tall = Math.max(2, Math.min(1, b.rate / most) * (h - 16));
    const say = `${b.n || "no"} write${b.n === 1 ? "" : "s"} acknowledged from ${seconds(b.from)} to ${seconds(b.to)}, ${Math.round(b.rate * 1e6)} a second${b.unsure ? `; ${b.unsure} of them with a warning that no standby has it` : ""}`;
    return rect(b.x, +(base - tall).toFixed(1), 2.4, tall.toFixed(1), `class="${b.unsure ? "warned" : "ack"}" ${tells(b.e, say)}`);
  }).join("");
}

function drawMonitor() {
  const y = layout.monitor;
  return run.groups.map(drawGroup).join("") + drawTrouble("monitor", y + 3, 35) + nameTrouble("monitor", y + 3, 35);
}

function drawGroup(group, row) {
  const y = layout.monitor + row * MONITOR;
  let out = "";
  group.epochs.forEach((s, i) => {
    const span = visible(s.from, s.to);
    if (!span) return;
    out += rect(span[0], y + 4, span[1], 15, `class="epoch${i % 2} band" ${tells(s.event, "epoch " + s.epoch)}`);
    out += text(span[0] + 4, y + 15, fitting("epoch " + s.epoch, span[1] - 6) || fitting("e" + s.epoch, span[1] + 6));
  });
  for (const s of group.contracts) {
    const span = visible(s.from, s.to);
    if (!span) continue;
    out += rect(span[0], y + 22, span[1], 15, `class="contract band" ${tells(s.event, "may be in force: " + s.contract)}`);
    out += text(span[0] + 4, y + 33, fitting(s.contract, span[1] - 8));
  }
  return out;
}

function drawTrouble(name, y, h) {
  let out = "";
  for (const t of run.trouble.filter((t) => t.whom.includes(name))) {
    const span = visible(t.from, t.to);
    if (!span) continue;
    if (!t.all) {
      const say = `${t.whom.join(" and ")}: ${t.called} from ${seconds(t.from)} ${t.mended ? "to " + seconds(t.to) : "on"}`;
      out += rect(span[0], y + h + 1, Math.max(span[1], 1.5), 3, `class="part" ${tells(t.event, say)}`);
      continue;
    }
    out += rect(span[0], y, Math.max(span[1], 1.5), h, `class="hatch"`);
  }
  return out;
}

/** At the right end: the state's name is at the left. */
function nameTrouble(name, y, h) {
  let out = "";
  for (const t of run.trouble.filter((t) => t.all && t.whom.includes(name))) {
    const span = visible(t.from, t.to);
    if (!span || span[1] < wide(t.called) + 14) continue;
    const x = span[0] + span[1] - wide(t.called) - 9;
    out += rect(x - 5, y + h / 2 - 8, wide(t.called) + 10, 15, 'rx="3" fill="var(--back)" opacity=".92" pointer-events="none"');
    out += text(x, y + h / 2 + 3.5, t.called, "", 'font-weight="600"');
  }
  return out;
}

/** What a band says: its state, and its goal where there is room. */
function drawState(s, y) {
  const [x, w] = visible(s.from, s.to);
  const moves = s.goal !== s.reported;
  const both = `${s.reported} → ${s.goal}`;
  const said = moves && wide(both) <= w - 6 ? both : fitting(s.reported, w - 6);
  return text(x + 4, moves ? y + 23 : y + 26, said, "", `style="fill:${states[s.reported].dark_text ? "#000" : "#fff"}"`);
}

function drawBand(lane, s, y) {
  const [x, w] = visible(s.from, s.to);
  const moves = s.goal !== s.reported;
  const say = `${lane.name} is ${s.reported}${moves ? ", told to become " + s.goal : ""}, ${seconds(s.from)} to ${seconds(s.to)} (${seconds(s.to - s.from)})`;
  const width = Math.max(w, 0.6);
  const band = rect(x, y + 11, width, 22, `fill="${states[s.reported].colour}" class="band" data-state="${s.reported}" ${tells(s.event, say)}`);
  return band + (moves ? rect(x, y + 27, width, 6, `fill="${states[s.goal].colour}" stroke="var(--back)" stroke-width=".8" pointer-events="none"`) : "");
}

function drawNode(lane, i) {
  const y = layout.nodes + i * NODE;
  const shown = lane.states.filter((s) => visible(s.from, s.to));
  let out = shown.map((s) => drawBand(lane, s, y)).join("");
  out += drawTrouble(lane.name, y + 11, 22) + shown.map((s) => drawState(s, y)).join("") + nameTrouble(lane.name, y + 11, 22);
  for (const s of lane.open) {
    const span = visible(s.from, s.to);
    if (span) out += rect(span[0], y + 4, Math.max(span[1], 1), 5, `class="open" ${tells(s.event, `${lane.name} accepts writes on timeline ${s.tli}, ${seconds(s.from)} to ${seconds(s.to)}`)}`);
  }
  for (const s of lane.shown.filter((s) => s.health === 0)) {
    const span = visible(s.from, s.to);
    if (span) out += `<line x1="${span[0]}" x2="${span[0] + span[1]}" y1="${y + 34}" y2="${y + 34}" class="unwell"/>`;
  }
  return out + drawMarks(i, y) + drawWal(lane, y);
}

/** Rules by their number where there is room, and what became of a server's WAL. */
function drawMarks(i, y) {
  let out = "";
  const fired = rules.filter((e) => run.who[e] === i && visible(run.at[e], run.at[e])).map((e) => [e, view.x(run.at[e])]);
  fired.forEach(([e, x], n) => {
    out += `<path d="M${x.toFixed(1)} ${y + 37}l3.5 6h-7z" class="mark" ${tells(e)}/>`;
    if ((fired[n + 1]?.[1] ?? Infinity) - x > 27) out += text(x + 5, y + 44, run.rule[e], "wal");
  });
  for (const e of turns) {
    if (run.who[e] !== i || !visible(run.at[e], run.at[e])) continue;
    out += text(view.x(run.at[e]), y + 10, TURN[kindOf(e)], "", `text-anchor="middle" style="pointer-events:auto;cursor:pointer" ${tells(e)}`);
  }
  return out;
}

function drawWal(lane, y) {
  let [out, free] = ["", view.left];
  for (const s of lane.shown) {
    const span = visible(s.from, s.to);
    const words = `${s.tli}:${s.lsn}`;
    if (!span || span[0] < free || span[0] + wide(words) > view.left + view.width) continue;
    out += text(span[0], y + 57, words, "wal", `style="pointer-events:auto" ${tells(s.event)}`);
    free = span[0] + wide(words) + 26;
  }
  return out;
}

function drawLabels() {
  const label = (y, name, more, lane) => {
    const on = here.lane === lane ? rect(0, y + 1, view.left, (lane >= 0 ? NODE : 44) - 2, 'class="lane-on"') : "";
    return on + text(10, y + 20, fitting(name, view.left - 14), "name") + text(10, y + 34, fitting(more, view.left - 14), "soft");
  };
  let out = text(10, 14, scale.stretched ? "time, stretched" : "time", "soft") + text(10, layout.steps + 14, "Steps", "name");
  out += label(layout.writes, "Writes", "of clients") + label(layout.monitor, "Monitor", "epoch, contract");
  run.groups.forEach((group, row) => {
    if (group.formation) out += label(layout.monitor + row * MONITOR, "", "of " + group.formation);
  });
  run.lanes.forEach((lane, i) => {
    const y = layout.nodes + i * NODE;
    const at = held(lane.states, here.at);
    out += label(y, lane.name, at ? at.reported : "", i);
    const open = held(lane.open, here.at);
    if (open) out += text(10, y + 48, `open, timeline ${open.tli}`, "soft");
  });
  return out;
}

function drawGround(packs) {
  const bottom = layout.height;
  let out = `<defs><pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><line x1="0" x2="0" y1="0" y2="7" class="hatch-line"/></pattern></defs>`;
  const shade = (from, to, words) => {
    const span = visible(from, to);
    if (!span || span[1] < 1) return;
    out += rect(span[0], AXIS, span[1], bottom - AXIS, 'class="setup"');
    if (span[1] > wide(words) + 10) out += text(span[0] + span[1] - 5, bottom - 4, words, "soft", 'text-anchor="end"');
  };
  shade(0, run.began ?? 0, "nodes join");
  if (run.healed != null) shade(run.healed, END, "story over");
  const far = (view.time(view.left + view.width) - view.time(view.left)) / 1e6;
  const places = far < 0.02 ? 4 : far < 0.2 ? 3 : far < 2 ? 2 : far < 20 ? 1 : 0;
  for (const t of ticks(84)) {
    const x = view.x(t);
    const words = scale.stretched ? +(t / 1e6).toFixed(4) : (t / 1e6).toFixed(places);
    const flagged = visible(here.at, here.at) && Math.abs(x + 14 - view.x(here.at)) < 56;
    out += vertical(x, AXIS, bottom, "grid") + (flagged ? "" : text(x + 3, 14, words + " s", "soft"));
  }
  for (const y of [layout.writes, layout.monitor, ...run.lanes.map((_, i) => layout.nodes + i * NODE)]) {
    out += `<line x1="0" x2="${view.left + view.width}" y1="${y}" y2="${y}" class="rule"/>`;
  }
  for (const s of packs.shown) if (!s.cut) out += vertical(s.x, layout.steps + 3 + Math.min(s.row, STEP_ROWS - 1) * STEP_ROW, bottom, "at-step");
  return out;
}

function drawPointers() {
  let out = "";
  for (const e of brokenEvents) {
    if (!visible(run.at[e], run.at[e])) continue;
    const x = view.x(run.at[e]);
    out += vertical(x, AXIS, layout.height, "at-bad");
    out += text(x, AXIS + 1, "✖", "bad", `text-anchor="middle" style="pointer-events:auto;cursor:pointer" data-bad="1" ${tells(e, broken.filter((j) => j.events.includes(e)).map((j) => `${j.name}: ${j.word}`).join("; "))}`);
    if (run.who[e] >= 0) out += text(x, layout.nodes + run.who[e] * NODE + 26, "✖", "bad", 'text-anchor="middle" font-size="15"');
  }
  if (visible(here.at, here.at)) {
    const [x, words] = [view.x(here.at), seconds(here.at)];
    const left = Math.min(Math.max(x - wide(words) / 2 - 5, view.left), view.left + view.width - wide(words) - 12);
    out += vertical(x, AXIS - 2, layout.height, "here") + rect(left, 2, wide(words) + 12, 17, `rx="3" class="here-flag ${brokenEvents.some((e) => run.at[e] === here.at) ? "bad-flag" : ""}"`);
    out += text(left + 6, 14, words, "here-text");
  }
  return out;
}

function draw() {
  const names = run.lanes.map((l) => wide(l.name) * 1.15);
  view.left = Math.min(190, Math.max(112, ...names.map((w) => w + 24)));
  view.width = Math.max(200, chart.clientWidth - view.left - 2);
  const packs = packed();
  layout.writes = layout.steps + packs.rows * STEP_ROW + 6;
  layout.monitor = layout.writes + WRITES;
  layout.nodes = layout.monitor + run.groups.length * MONITOR;
  layout.height = layout.nodes + run.lanes.length * NODE + 14;
  chart.setAttribute("height", layout.height);
  chart.style.height = layout.height + "px";
  chart.innerHTML = drawGround(packs) + drawSteps(packs) + drawWrites() + drawMonitor()
    + run.lanes.map(drawNode).join("") + drawLabels() + drawPointers() + '<g id="hover"></g>';
  drawOverview();
}

/** The whole run, and which part of it is shown. */
function drawOverview() {
  const [left, width] = [view.left, view.width];
  const x = (at) => left + scale.place(at) * width;
  const tall = Math.min(6, 24 / Math.max(run.lanes.length, 1));
  let out = text(10, 21, "All", "soft");
  for (const o of run.outages) out += rect(x(o.from), 2, Math.max(x(o.to) - x(o.from), 1), 30, 'class="out"');
  run.lanes.forEach((lane, i) => {
    for (const s of lane.states) out += rect(x(s.from), 5 + i * tall, Math.max(x(s.to) - x(s.from), 0.3), tall - 0.8, `fill="${states[s.reported].colour}"`);
  });
  for (const s of steps) out += vertical(x(s.at), 29, 34, "at-step");
  for (const e of brokenEvents) out += vertical(x(run.at[e]), 0, 34, "at-bad");
  out += rect(left + view.from * width, 1, Math.max((view.to - view.from) * width, 2), 32, 'class="window"');
  overview.innerHTML = out + vertical(x(here.at), 0, 34, "here");
}
