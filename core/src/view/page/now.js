// What held at the marked instant, for each node side by side.

const key = (name) => `<span class="key s-${esc(name)}">${esc(name)}</span>`;

function clientsAt(at) {
  if (!acks.length) return "no write was ever acknowledged";
  if (run.began != null && at < run.began) return "clients haven't begun yet";
  const outs = run.outages.filter((o) => o.from <= at && at < o.to);
  const last = acks[above(ackTimes, at) - 1];
  const since = last === undefined ? "none acknowledged yet" : `last acknowledged ${seconds(at - run.at[last])} before${run.who[last] >= 0 ? ", by " + esc(run.lanes[run.who[last]].name) : ""}`;
  const over = run.stopped != null && at >= run.stopped;
  if (over) return `clients have stopped; ${since}`;
  const said = outs.map((o) => `<span class="bad-text">${o.beside ? "of " + esc(run.groups[1].formation) + " " : ""}out from ${seconds(o.from)} to ${seconds(o.to)}</span>; `);
  return said.join("") + since;
}

function troubleAt(name, at) {
  const now = run.trouble.filter((t) => t.whom.includes(name) && t.from <= at && (at < t.to || !t.mended));
  return now.map((t) => `<span class="step-note">${esc(t.called)}${t.whom.length > 1 ? " (" + esc(t.whom.join(", ")) + ")" : ""} since ${seconds(t.from)}</span>`).join("<br>");
}

/** What a keeper has on its disk, where that says more than the monitor does. */
function keeperOf(stored, state, group, at) {
  if (!stored) return "";
  const epoch = held(group.epochs, at)?.epoch;
  const agrees = state && stored.epoch === epoch && stored.state === state.reported && (stored.goal ?? state.goal) === state.goal;
  const sealed = stored.seal && ["report_lsn", "stop_replication", "prepare_promotion", "fast_forward"].includes(stored.state);
  if (agrees && !sealed) return "";
  const goal = stored.goal && stored.goal !== stored.state ? " → " + esc(stored.goal) : "";
  return `<span class="soft-text">its keeper has e${stored.epoch} ${esc(stored.state)}${goal}${sealed ? ", sealed at " + esc(stored.seal) : ""}</span>`;
}

function nodeRow(lane, at) {
  const [state, open, shown, stored] = [lane.states, lane.open, lane.shown, lane.stored].map((s) => held(s, at));
  const move = state ? key(state.reported) + (state.goal !== state.reported ? " → " + key(state.goal) : "") : "–";
  const server = !run.sees_servers ? "–" : open ? `<b>open</b>, t${open.tli}` : "closed";
  const wal = shown ? `${shown.tli}:${esc(shown.lsn)}` : "–";
  const unwell = shown && shown.health !== 1 ? `<span class="bad-text">${shown.health === 0 ? "not answering" : "not heard of"}</span>` : "";
  const notes = [troubleAt(lane.name, at), unwell, shown && shown.pending ? esc(shown.pending) : "", keeperOf(stored, state, run.groups[lane.group], at)];
  const told = notes.filter(Boolean).join("<br>");
  const more = told ? `<tr class="more"><td></td><td colspan="3">${told}</td></tr>` : "";
  return `<tr><td><b>${esc(lane.name)}</b></td><td>${move}</td><td>${server}</td><td>${wal}</td></tr>${more}`;
}

function groupRow(group, at) {
  const [epoch, contract] = [held(group.epochs, at), held(group.contracts, at)];
  const name = group.formation ? "Group of " + esc(group.formation) : "Group";
  return `<p><span class="soft-text">${name}</span> ${epoch ? "epoch " + epoch.epoch : "no epoch yet"}; commits wait for ${contract ? esc(contract.contract) : "nobody knows"}</p>`;
}

function tellNow() {
  const at = here.at;
  const monitor = troubleAt("monitor", at);
  const step = steps[above(steps, at, (s) => s.at) - 1];
  const wrong = broken.filter((j) => j.events.some((e) => run.at[e] === at)).map((j) => `<p class="bad-text"><b>✖ ${esc(j.name)}</b>: ${esc(j.word)}</p>`);
  $("now").innerHTML = `<h2>At ${seconds(at)}</h2>${wrong.join("")}`
    + (here.event >= 0 ? `<p><a href="#L${here.event + 1}">L${here.event + 1}</a> ${esc(words(here.event))}</p>` : "")
    + run.groups.map((group) => groupRow(group, at)).join("")
    + (monitor ? `<p><span class="soft-text">Monitor</span> ${monitor}</p>` : "")
    + `<p><span class="soft-text">Writes</span> ${clientsAt(at)}</p>`
    + (step ? `<p><span class="soft-text">Last step</span> <a href="#L${step.e + 1}">${esc(step.words)}</a>, ${seconds(at - step.at)} before</p>` : "")
    + `<table><thead><tr><th>Node<th>State → goal at the monitor<th>Server<th>WAL, as shown</tr></thead><tbody>${run.lanes.map((l) => nodeRow(l, at)).join("")}</tbody></table>`;
}

/** An event's line without the spaces that put it in columns. */
const words = (e) => line(e).textContent.trim().replace(/ {2,}/g, "  ");
