# Everything a newcomer or CI types. Each command sets up what it needs (deploy/bootstrap.sh),
# ends with one line that says what was shown, and exits non-zero when it was not.

# dev builds in a third of the time; `make up PROFILE=release` is for measuring and for staying.
PROFILE ?= dev
CARGO   ?= cargo
SLUICE   = $(CARGO) run --quiet --locked --profile $(PROFILE) --package sluice-sluice --bin sluice --
FOLLOW  ?= 1
BUILD    = $(CARGO) build --locked --profile $(PROFILE)

.DEFAULT_GOAL := help
.PHONY: help up demo status logs down check test e2e audit docs bench

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

up: ## start the whole stack here: every service in one process, a private Redis, data in .sluice/
	@deploy/bootstrap.sh stack
	@$(BUILD) --package sluice-sluice
	@$(SLUICE) up --detach

demo: ## a real job, watched live, with its worker killed in the middle (DEMO_DIR=folder for your own files)
	@deploy/bootstrap.sh stack
	@$(BUILD) --package sluice-sluice --package sluice-queue-worker
	@$(SLUICE) demo $(if $(DEMO_DIR),--dir '$(DEMO_DIR)')

status: ## what runs, where, and how it feels
	@$(SLUICE) status

logs: ## the stack's log, followed until Ctrl-C (FOLLOW= for what is there and no more)
	@$(SLUICE) logs $(if $(FOLLOW),--follow)

down: ## stop the stack; data and secrets stay in .sluice/
	@$(SLUICE) down

check: ## formatting, lints, docs, layout
	@deploy/bootstrap.sh build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps --quiet
	$(CARGO) test --locked --quiet --package sluice-tests --test tidy
	@echo 'check: formatting, lints, docs and layout hold'

test: check ## check, then every unit, integration and doc test, on real Redis servers
	@deploy/bootstrap.sh test
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		set -x; $(CARGO) nextest run --locked --workspace; \
	else \
		set -x; $(CARGO) test --locked --workspace --lib --bins --tests; \
	fi
	$(CARGO) test --locked --quiet --workspace --doc
	@echo 'test: check holds, and every unit, integration and doc test passes'

e2e: ## build the images, bring compose up, run the path, kill a worker, restart Redis, tear down
	@deploy/bootstrap.sh build docker
	$(CARGO) test --locked --package sluice-tests --test e2e -- --ignored --nocapture --test-threads=1
	@echo 'e2e: the images build, the path holds through a killed worker and a restarted Redis, nothing is left'

audit: ## licences, sources and banned crates (ADVISORIES=1 also asks the RustSec database)
	@deploy/bootstrap.sh build cargo-deny
	$(CARGO) deny --locked check licenses sources bans $(if $(ADVISORIES),advisories)
	@echo 'audit: every dependency has an allowed licence and comes from crates.io'

docs: ## make the tables of docs/configuration.md and docs/security.md anew, from the code
	SLUICE_WRITE_DOCS=1 $(CARGO) test --locked --quiet --package sluice-tests --test configuration
	SLUICE_WRITE_DOCS=1 $(CARGO) test --locked --quiet --package sluice-redis-acl
	@echo 'docs: the tables show what the code says'

bench: ## measure against bare handlers and peers in the same run (ONLY=area); target/bench/report.json
	@deploy/bootstrap.sh $(if $(filter-out ratelimit%,$(ONLY)),test,peers)
	$(CARGO) build --locked --release --bins --package sluice-tests --package sluice-cache-api \
		--package sluice-queue-worker --package sluice-progress-sse --package sluice-ratelimit-gateway
	@$${CARGO_TARGET_DIR:-target}/release/bench $(if $(ONLY),--only '$(ONLY)')
	@echo 'bench: every goal holds; target/bench/report.json has the figures'

faults: ## break Redis under the services in every way, and judge what their clients saw (ONLY=redis/kill SECONDS_EACH=3 SEED=n)
	@deploy/bootstrap.sh test
	$(CARGO) build --locked --bins --package sluice-tests --package sluice-cache-api \
		--package sluice-queue-worker --package sluice-progress-sse --package sluice-ratelimit-gateway
	@$${CARGO_TARGET_DIR:-target}/debug/faults $(if $(ONLY),--only '$(ONLY)') \
		$(if $(SECONDS_EACH),--seconds-each $(SECONDS_EACH)) $(if $(SEED),--seed $(SEED))
	@echo 'faults: every promise was kept; target/faults/report.json has the figures'
