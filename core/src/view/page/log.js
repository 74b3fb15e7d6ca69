// The lines below the chart: which of them are shown, and going through them.

const GROUPS = [
  ["story", "Story", true, ["step", "asked", "told", "healed", "clients"]],
  ["states", "States and rules", true, ["node"]],
  ["servers", "Servers and WAL", true, ["opened", "closed", "names", "branched", "received", "rebuilt"]],
  ["keepers", "Keepers' records", false, ["stored"]],
  ["writes", "Clients' writes", false, ["acked", "not_acked", "read", "standby_read"]],
  ["shown", "What show state says", false, ["shown"]],
  ["faults", "How steps count", false, ["fault"]],
  ["ends", "The end", true, ["found", "ended", "configured"]],
];
const linesBox = $("lines");
const hidden = new Set();

function isShown(e) { return !hidden.has(kindOf(e)) && !line(e).classList.contains("off"); }

function filter() {
  const wanted = $("find").value.toLowerCase();
  let count = 0;
  for (const e of happened) {
    const off = hidden.has(kindOf(e)) || (wanted && !line(e).textContent.toLowerCase().includes(wanted));
    line(e).classList.toggle("off", !!off);
    if (!off) count++;
  }
  $("count").textContent = `${count} of ${run.at.length} lines`;
}

function setFilters() {
  const present = new Set(run.kind.map((k) => run.kinds[k]));
  for (const [id, name, on, kinds] of GROUPS) {
    if (!kinds.some((k) => present.has(k))) continue;
    const label = document.createElement("label");
    const box = document.createElement("input");
    Object.assign(box, { type: "checkbox", checked: on, id: "show-" + id });
    box.addEventListener("change", () => { kinds.forEach((k) => (box.checked ? hidden.delete(k) : hidden.add(k))); filter(); });
    label.append(box, " " + name);
    $("filters").append(label);
    if (!on) kinds.forEach((k) => hidden.add(k));
  }
  let soon;
  $("find").addEventListener("input", () => { clearTimeout(soon); soon = setTimeout(filter, 120); });
  filter();
}

/** Marks an event everywhere: its line, its instant in the chart, the address of the page. */
function choose(e, { scroll = true, address = true } = {}) {
  const old = linesBox.querySelector(".chosen");
  if (old) { old.classList.remove("chosen"); old.removeAttribute("aria-current"); }
  Object.assign(here, { event: e, at: run.at[e] });
  line(e).classList.add("chosen");
  line(e).setAttribute("aria-current", "true");
  if (address) history.replaceState(null, "", "#L" + (e + 1));
  if (scroll) linesBox.scrollTop = line(e).offsetTop - linesBox.clientHeight / 2;
  view.show(here.at);
  draw();
  tellNow();
  $("said").textContent = words(e);
}

/** The next event in a direction that is shown as a line and belongs to the lane. */
function neighbour(from, direction) {
  for (let e = from + direction; e >= 0 && e < run.at.length; e += direction) {
    if (isShown(e) && (here.lane < 0 || run.who[e] === here.lane)) return e;
  }
  return -1;
}

/** Where arrow keys go on from: the chosen event, or the place of the marked instant. */
function go(direction) {
  const from = here.event >= 0 ? here.event : above(run.at, here.at) - (direction > 0 ? 1 : 0);
  const e = neighbour(from, direction);
  if (e >= 0) choose(e);
}

linesBox.addEventListener("click", (event) => {
  const found = event.target.closest("#lines > div");
  if (found && !String(getSelection())) choose(+found.id.slice(1) - 1, { scroll: false });
});
linesBox.addEventListener("keydown", (event) => {
  const direction = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (direction && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    const lane = here.lane;
    here.lane = -1;
    go(direction);
    here.lane = lane;
  }
  if (event.key === "Enter") chart.focus();
});
