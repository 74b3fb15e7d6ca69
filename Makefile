# Two commands for a stranger: `make demo` shows the thing, `make test` checks everything.

SHELL := /bin/bash
NOTE := scenarios/failover/operations-note.toml
LIVE := target/release/pgbaton-live
SIM := target/sim/pgbaton-sim

.PHONY: demo test deps test-deps build lint live live-all mutants mutants-sample postgres-17

# The operations note on real PostgreSQL servers, then the same file in simulation.
demo: deps build
	$(LIVE) demo $(NOTE) --sim $(SIM)

test: test-deps postgres-17 lint
	cargo test --workspace --locked
	$(MAKE) mutants-sample
	$(MAKE) live

# Stories with real processes and servers, as many as CI has time for.
LIVE_STORIES := $(wildcard scenarios/durability/*.toml scenarios/election/*.toml scenarios/failover/*.toml \
	scenarios/fork/*.toml scenarios/partition/primary-*.toml) scenarios/monitor/monitor-killed.toml \
	scenarios/switchover/asked-twice.toml scenarios/switchover/standby-down.toml

# How many are played at the same time. Most of a story is waiting: two cores bear four of them without one story being
# late because of the others.
LIVE_JOBS := 4

live: build
	$(LIVE) run --jobs $(LIVE_JOBS) $(LIVE_STORIES)

# Bugs planted in the failover logic, each of which must be found: others with each commit, and all of them.
mutants-sample: build
	$(SIM) mutants --sample 6 --from-commit $(shell git rev-parse HEAD)

mutants: build
	$(SIM) mutants

# Every scenario that has a live side.
live-all: build
	$(LIVE) run --jobs $(LIVE_JOBS) $$(find scenarios -name '*.toml' | sort)

build:
	cargo build --release --locked --package pgbaton
	cargo build --profile sim --locked --package pgbaton-sim --features mutants

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --package pgbaton-sim --all-targets --features mutants --locked -- -D warnings

# What a fresh Debian or Ubuntu lacks.
deps:
	@scripts/install-deps

test-deps:
	@scripts/install-deps --for-tests

# A second version to show the facts about Postgres on. Without a network the test `versions_under_test` says what
# is missing, and how to go without it.
postgres-17:
	-@scripts/fetch-postgres-17
