SHELL := /bin/bash
.DEFAULT_GOAL := help

GOLANGCI_LINT := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
# The commands of tools.go, which has their versions.
GOOSE := $(shell sed -n 's/^..go:generate \(.*goose@[^ ]*\).*/\1/p' tools.go)
SQLC := $(shell sed -n 's/^..go:generate \(.*sqlc@[^ ]*\).*/\1/p' tools.go)
WITH_POSTGRES := go run ./sessioncache/sessiontest/withpostgres

# $(call need,a command that succeeds where it is,its Debian packages,what tells others how to get it)
# Root on Debian gets them.
define need
@{ $(1); } >/dev/null 2>&1 || \
if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(2); \
else \
	$(or $(3),echo 'Install what Debian calls $(2).' >&2; exit 1); \
fi
endef

.PHONY: help
help: ## print this
	@awk -F ':.*## ' '/^##@ / { print "\n" substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Try it

.PHONY: run
run: postgresql ## run sessions from login to purge
	@echo 'Compiling examples/lifecycle, which takes up to a minute the first time.'
	@go run ./examples/lifecycle

.PHONY: webapp
webapp: postgresql ## try logins in a browser (ARGS="-lifetime 2m")
	@echo 'Compiling examples/webapp, which takes up to a minute the first time.'
	@go run ./examples/webapp $(ARGS)

.PHONY: migrate
migrate: ## migrate the database at DATABASE_URL
	@test -n "$$DATABASE_URL" || { echo 'usage: make migrate DATABASE_URL=postgres://…' >&2; exit 2; }
	$(GOOSE) -table session_cache_version -dir schema postgres "$$DATABASE_URL" up

##@ Test

.PHONY: test
test: postgresql compiler ## run the tests (6 minutes; ARGS="-run Renew -v")
	go test -race -shuffle=on -count=1 $(ARGS) ./...

.PHONY: test-readme
test-readme: postgresql compiler ## run the programs of README and docs/data-layer.md as pasted, and the recipes
	cd systemtest && go test -count=1 -v -run 'TestReadme|TestDataLayer' . && go test -count=1 -skip TestBrowser ./recipes

.PHONY: test-observability
test-observability: postgresql compiler ## test the exporters of metrics
	cd examples/observability && go test -race -count=1 ./...

.PHONY: test-bench
test-bench: postgresql ## run the benchmark for a moment
	cd bench && go test -count=1 ./...

.PHONY: test-settings
test-settings: postgresql ## run the tests at awkward settings (4 minutes)
	cd systemtest && go test -count=1 -timeout 30m -v -run TestSettings .

.PHONY: test-pgbouncer
test-pgbouncer: postgresql ## run the tests through PgBouncer (3 minutes)
	$(call need,command -v pgbouncer || ls /usr/sbin/pgbouncer,pgbouncer)
	cd systemtest && go test -count=1 -timeout 30m -v -run TestPgBouncer .

.PHONY: test-browser
test-browser: postgresql ## have two browsers use the web example
	$(call need,command -v chromium || command -v chromium-browser || command -v google-chrome,chromium)
	cd systemtest && go test -count=1 -v -timeout 5m -run TestBrowser ./...

FAULTS = cd systemtest && go test -count=1 -v -skip 'TestPgBouncer|TestBrowser|TestSettings|TestReadme|TestDataLayer$(SKIP)'

# What tests the checkers themselves is left to systemtest and soak.
test-faults: SKIP := |CheckerFindsBugs

.PHONY: test-faults
test-faults: postgresql ## check histories under faults (5 minutes)
	$(call need,command -v pgbouncer || ls /usr/sbin/pgbouncer,pgbouncer)
	$(FAULTS) -timeout 15m . -args -histories=1

FUZZTIME := 1m

.PHONY: fuzz
fuzz: postgresql ## fuzz each of 7 targets for a minute (FUZZTIME=10m)
	@set -e; for target in sid:FuzzParse sid:FuzzParseToken sessioncache:FuzzInterpret sessioncache:FuzzUser sessioncache:FuzzCalls sessioncache:FuzzUserID sessioncache/sessionhttp:FuzzNext; do \
		go test -run '^$$' -fuzz "^$${target#*:}$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s ./$${target%%:*}; done

##@ Change something

# $(call compiled,what to do with the db/ that queries/ compiles to, in $$dir/db)
define compiled
@set -e; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	cp -r sqlc.yaml schema queries "$$dir"; $(SQLC) generate -f "$$dir/sqlc.yaml"; $(1)
endef

.PHONY: generate
generate: compiler ## compile queries/ to db/
	$(call compiled,find db -name '*.go' ! -name doc.go -delete; cp "$$dir"/db/*.go db/)

.PHONY: check
check: drift vet vet-sql vet-migrations lint ## run every check that is not a test (5 minutes)

.PHONY: drift
drift: compiler ## check that db/ is what queries/ compiles to
	$(call compiled,diff -r -x doc.go db "$$dir/db" || { echo 'db/ and queries/ differ: run make generate' >&2; exit 1; })

.PHONY: vet
vet: compiler ## run go vet in every module, and build for Windows
	go vet ./...
	cd bench && go vet ./...
	cd systemtest && go vet ./...
	cd examples/observability && go vet ./...
	GOOS=windows go build ./...

.PHONY: vet-sql
vet-sql: postgresql compiler ## have a real server PREPARE every query
	$(WITH_POSTGRES) $(SQLC) vet

.PHONY: vet-migrations
vet-migrations: postgresql ## take the goose CLI down and up again
	$(WITH_POSTGRES) $(SHELL) -ec 'goose() { $(GOOSE) -table session_cache_version -dir schema postgres "$$DATABASE_URL" "$$@"; }; \
		goose status; goose redo; goose reset; goose up; goose status'

.PHONY: lint
lint: compiler ## run golangci-lint
	$(GOLANGCI_LINT) run ./...
	cd bench && $(GOLANGCI_LINT) run --config ../.golangci.yml ./...
	cd systemtest && $(GOLANGCI_LINT) run --config ../.golangci.yml ./...
	cd examples/observability && $(GOLANGCI_LINT) run --config ../../.golangci.yml ./...

##@ Measure

.PHONY: bench
bench: postgresql ## measure against others (17 minutes; redis-server)
	cd bench && go run . $(ARGS)

.PHONY: scale
scale: postgresql ## measure at scale (half an hour, 20 GB)
	cd bench && go run ./scale $(ARGS)

##@ Release

.PHONY: test-versions
test-versions: ## run the tests on PostgreSQL 15 to 18 (half an hour)
	systemtest/versions.sh $(VERSIONS_CACHE)

# As docs/scaling.md says, but with few shards: each is a table, and each test has its own.
test-citus: export SESSIONCACHE_TEST_AFTER_MIGRATE := SELECT create_distributed_table('session_cache','sessionid',shard_count=>4)

.PHONY: test-citus
test-citus: ## run the tests on Citus (half an hour; SESSIONCACHE_DATABASE_URL)
	@test -n "$$SESSIONCACHE_DATABASE_URL" || { echo 'usage: make test-citus SESSIONCACHE_DATABASE_URL=postgres://…' >&2; exit 2; }
	go test -shuffle=on -count=1 -p 1 -timeout 1h $(ARGS) ./...

.PHONY: test-mutations
test-mutations: postgresql ## break the near cache in every way (10 minutes)
	cd systemtest && go test -count=1 -v -timeout 30m -run TestMutations . -args -mutations

.PHONY: systemtest
systemtest: test-pgbouncer test-browser ## 240 histories, PgBouncer, browsers (up to 45 minutes)
	$(FAULTS) -timeout 30m . -args -histories=15 -near=5s

.PHONY: soak
soak: postgresql ## 1,120 histories, near caches under faults (2 hours)
	$(call need,command -v pgbouncer || ls /usr/sbin/pgbouncer,pgbouncer)
	$(FAULTS) -timeout 2h . -args -histories=70 -load=1m -near=1m

.PHONY: postgresql
postgresql:
	$(call need,test -n "$$SESSIONCACHE_DATABASE_URL" || command -v initdb || ls /usr/lib/postgresql/*/bin/initdb || ls /opt/homebrew/opt/postgresql@*/bin/initdb || ls /usr/local/opt/postgresql@*/bin/initdb || docker info,postgresql,$(WITH_POSTGRES) true)

# The race detector and sqlc's parser are C.
.PHONY: compiler
compiler:
	$(call need,command -v gcc || command -v clang,gcc libc6-dev)
