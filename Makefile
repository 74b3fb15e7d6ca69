# Two commands for a stranger: `make demo` shows the thing, `make test` checks everything.

SHELL := /bin/bash
NOTE := scenarios/failover/operations-note.toml
LIVE := target/release/pgbaton-live
SIM := target/release/pgbaton-sim

# Each commit has drawn stories of its own; the command prints from which seed on.
COMMIT = $(shell git rev-parse HEAD 2>/dev/null || echo 0000000000)

.PHONY: demo test deps test-deps postgres-17 build build-sim lint live live-all bench chaos sweep soak hunt mutants

# The operations note on real PostgreSQL servers, then the same file in simulation.
demo: deps build
	$(LIVE) demo $(NOTE) --sim $(SIM)

# Only the simulator needs speed. Its tests run with planted bugs in it, all switched off: it is the build that the search
# needs as well.
test: test-deps postgres-17 lint
	cargo test --package pgbaton-core --package pgbaton --locked
	cargo test --release --package pgbaton-sim --features mutants --locked
	$(MAKE) hunt
	target/debug/pgbaton-live run --jobs $(LIVE_JOBS) $(LIVE_STORIES)

build: build-sim
	cargo build --release --locked --package pgbaton

build-sim:
	cargo build --release --locked --package pgbaton-sim --features mutants

lint:
	cargo fmt --all --check
	cargo clippy --workspace --exclude pgbaton-sim --all-targets --locked -- -D warnings
	cargo clippy --package pgbaton-sim --all-targets --features mutants --locked -- -D warnings

# Stories with real processes and servers, some of every kind, as many as CI has time for. `live-all` plays them all.
LIVE_STORIES := $(addprefix scenarios/,$(addsuffix .toml, \
	$(addprefix durability/,cancel-while-waiting own-choice restart-with-waiters terminate-waiters) \
	$(addprefix election/,five-nodes-three-left-strict ff-source-dies) \
	$(addprefix failover/,keeper-killed lost-datadir node-killed postmaster-killed rewind-source-dies standby-killed) \
	$(addprefix fork/,rewind-says-fine rogue-promote) fence/lease-and-a-stalled-disk \
	$(addprefix loss/,apply-delay async-primary-isolated async-switchover catching-up drop-during-stop-replication \
		keeper-hangs-standby-returns stale-standbys-return wait-primary-to-primary-link-cut) \
	$(addprefix monitor/,cold-start-without-monitor monitor-replaced) \
	$(addprefix switchover/,asked-twice standby-down) \
	join/crash-during-backup maintenance/primary partition/primary-isolated))

# How many are played at the same time. Most of a story is waiting: two cores bear five of them without one story being
# late because of the others.
LIVE_JOBS := 5

live: build
	$(LIVE) run --jobs $(LIVE_JOBS) $(LIVE_STORIES)

# Every scenario that has a live side.
live-all: build
	$(LIVE) run --jobs $(LIVE_JOBS) $$(find scenarios -name '*.toml' | sort)

# How long writes are out, and what one monitor can bear: docs/figures.md. A quarter of an hour on a quiet machine.
bench: build
	$(LIVE) bench --svg docs/outages.svg
	$(LIVE) bench monitor

# Drawn stories on real servers, each simulated as well. As root: disks of nodes are filled.
chaos: build
	$(LIVE) chaos --for 10m --sim $(SIM) --out target

# A harm at every point of the stories that are made for it: a crash at every step.
sweep: build-sim
	$(SIM) sweep scenarios/sweep/*.toml

# The search, as much of it as CI has time for. What fails of its fixed seeds was broken by the change at hand; besides,
# each commit explores stories that nobody has seen.
FRESH := 0..100
FOUND_SOON := contract-leaves-when-told opens-after-crash promote-over-wait-primary wal-not-kept-aside

hunt: build-sim
	$(SIM) meta --seeds 0..4
	$(SIM) soak --seeds 0..400 --all-marks
	$(SIM) soak --seeds $(FRESH) --from-commit $(COMMIT)
	$(SIM) sweep scenarios/sweep/*.toml --every 25
	$(SIM) mutants --budget 60 $(addprefix --only ,$(FOUND_SOON))

# Drawn stories, in earnest.
SEEDS := 0..2000

soak: build-sim
	$(SIM) coverage --seeds $(SEEDS) --from-commit $(COMMIT)

# Bugs planted in the failover logic, each of which must be found.
mutants: build-sim
	$(SIM) mutants

# What a fresh Debian or Ubuntu lacks.
deps:
	@scripts/install-deps

test-deps:
	@scripts/install-deps --for-tests

# A second version to show the facts about Postgres on. Without a network the test `versions_under_test` says what
# is missing, and how to go without it.
postgres-17:
	-@scripts/fetch-postgres-17
