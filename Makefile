# Two commands for a stranger: `make demo` shows the thing, `make test` checks everything.

SHELL := /bin/bash
NOTE := scenarios/failover/operations-note.toml
LIVE := target/release/pgbaton-live
SIM := target/sim/pgbaton-sim

.PHONY: demo test deps build lint live live-all sweep postgres-17

# The operations note on real PostgreSQL servers, then the same file in simulation.
demo: deps build
	$(LIVE) demo $(NOTE) --sim $(SIM)

test: deps postgres-17 lint
	cargo test --workspace --locked
	$(MAKE) live

# Stories with real processes and servers: those that have been seen to pass there, within the time CI has.
LIVE_STORIES := $(filter-out %/reused-pid.toml,$(wildcard scenarios/durability/*.toml scenarios/election/*.toml \
	scenarios/failover/*.toml scenarios/partition/primary-*.toml)) scenarios/monitor/monitor-killed.toml \
	scenarios/switchover/asked-twice.toml scenarios/switchover/standby-down.toml

live: build
	$(LIVE) run --jobs 2 $(LIVE_STORIES)

# Every scenario that has a live side.
live-all: build
	$(LIVE) run $$(find scenarios -name '*.toml' | sort)

# A harm at every point of the stories that are made for it: a crash at every step.
sweep: build
	$(SIM) sweep scenarios/sweep/*.toml

build:
	cargo build --release --locked --package pgbaton
	cargo build --profile sim --locked --package pgbaton-sim

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

# What a fresh Debian or Ubuntu lacks.
deps:
	@scripts/install-deps

# A second version to show the facts about Postgres on. Without a network the test `versions_under_test` says what
# is missing, and how to go without it.
postgres-17:
	-@scripts/fetch-postgres-17
