"use strict";
// Time and place: which instant is where, and back.

const run = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const kindOf = (e) => run.kinds[run.kind[e]];
const line = (e) => $("L" + (e + 1));
const seconds = (us) => (us / 1e6).toFixed(3) + " s";
const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const esc = (text) => String(text).replace(/[&<>"']/g, (c) => escapes[c]);
const states = Object.fromEntries(run.states.map((s) => [s.name, s]));
const END = Math.max(run.end, 1);

/** The first place in a sorted list whose value is above `value`. */
function above(list, value, get = (x) => x) {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (get(list[middle]) <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** What held at an instant, of stretches in order. */
function held(stretches, at) {
  const s = stretches[above(stretches, at, (x) => x.from) - 1];
  return s && (at < s.to || s.to === run.end) ? s : undefined;
}

const SELDOM = new Set(["acked", "not_acked", "read", "standby_read", "shown", "stored"]);

/** Instants and their places between 0 and 1, both rising: even, or with more room where more happens. */
const scale = {
  stretched: false,
  times: [0, END],
  places: [0, 1],
  set(stretched) {
    this.stretched = stretched;
    const marks = new Set([0, END]);
    if (stretched) run.at.forEach((at, e) => { if (!SELDOM.has(kindOf(e))) marks.add(at); });
    if (stretched) run.outages.forEach((o) => { marks.add(o.from); marks.add(o.to); });
    this.times = [...marks].sort((a, b) => a - b);
    // A gap ten times as long is drawn a little wider, not ten times.
    const room = (us) => (stretched ? Math.log2(1 + us / 5000) : us);
    this.places = [0];
    for (let i = 1; i < this.times.length; i++) this.places.push(this.places[i - 1] + room(this.times[i] - this.times[i - 1]));
    const all = this.places[this.places.length - 1] || 1;
    this.places = this.places.map((p) => p / all);
  },
  map(value, from, to) {
    const i = Math.min(Math.max(above(from, value), 1), from.length - 1);
    const width = from[i] - from[i - 1] || 1;
    return to[i - 1] + ((value - from[i - 1]) / width) * (to[i] - to[i - 1]);
  },
  place(at) { return this.map(at, this.times, this.places); },
  time(place) { return this.map(Math.min(Math.max(place, 0), 1), this.places, this.times); },
};

/** The part that is shown, in places. */
const view = {
  from: 0, to: 1, left: 100, width: 1000,
  set(from, to) {
    // Half a millisecond is as near as it goes.
    const middle = (from + to) / 2;
    const least = scale.place(Math.min(scale.time(middle) + 500, END)) - scale.place(Math.max(scale.time(middle) - 500, 0));
    const width = Math.min(Math.max(to - from, least, 1e-9), 1);
    const start = Math.min(Math.max(middle - width / 2, 0), 1 - width);
    [this.from, this.to] = [start, start + width];
    draw();
  },
  setTimes(from, to) { this.set(scale.place(Math.max(from, 0)), scale.place(Math.min(to, END))); },
  x(at) { return this.left + ((scale.place(at) - this.from) / (this.to - this.from)) * this.width; },
  time(x) { return scale.time(this.from + ((x - this.left) / this.width) * (this.to - this.from)); },
  zoom(factor, x = this.left + this.width / 2) {
    const at = this.from + ((x - this.left) / this.width) * (this.to - this.from);
    this.set(at - (at - this.from) * factor, at + (this.to - at) * factor);
  },
  pan(share) { const by = (this.to - this.from) * share; this.set(this.from + by, this.to + by); },
  show(at) {
    const x = this.x(at);
    if (x >= this.left + 8 && x <= this.left + this.width - 8) return;
    const [place, half] = [scale.place(at), (this.to - this.from) / 2];
    this.set(place - half, place + half);
  },
};

/** Round instants for the axis, no nearer to each other than `least` pixels. */
function ticks(least) {
  const found = [];
  const steps = [];
  for (let p = 1; p <= 1e10; p *= 10) steps.push(p, 2 * p, 5 * p);
  for (let x = view.left; x < view.left + view.width - least / 2; ) {
    const [from, to] = [view.time(x), view.time(x + (scale.stretched ? least * 0.7 : least))];
    if (!scale.stretched) {
      const step = steps.find((s) => s >= to - from) || 1e10;
      for (let t = Math.ceil(from / step) * step; view.x(t) <= view.left + view.width; t += step) found.push(t);
      return found;
    }
    const step = [...steps].reverse().find((s) => Math.floor(to / s) * s >= from) || 1;
    const tick = Math.floor(to / step) * step;
    if (tick >= from) found.push(tick);
    x = Math.max(view.x(tick), x) + least;
  }
  return found;
}
