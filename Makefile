# The developer's surface; `make help` lists it.

GO            ?= go
GOLANGCI_LINT  = bin/golangci-lint
LINT_VERSION   = v2.15.0
FUZZTIME      ?= 60s
# Making an interesting input smaller takes a minute by default, of which most is lost.
FUZZMINIMIZE  ?= 10x
BENCHTIME     ?= 1s

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
VERSION_PKG = github.com/prometheus/common/version
LDFLAGS = -s -w -X $(VERSION_PKG).Version=$(VERSION) -X $(VERSION_PKG).Revision=$(REVISION)

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build ./penstock.
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o penstock ./cmd/penstock

.PHONY: demo
demo: build ## Three nodes and a simulated HA pair on this machine; Ctrl-C ends it.
	./penstock demo

.PHONY: run
run: build ## One node with no flags, on http://127.0.0.1:9009.
	./penstock

.PHONY: test
test: ## Unit tests of every package.
	$(GO) test ./...

.PHONY: race
race: ## The same under the race detector.
	$(GO) test -race ./...

SEEDS ?= 20000
FIRST ?= 1

.PHONY: sim
sim: ## Play SEEDS simulated clusters with faults, from seed FIRST on.
	$(GO) test ./sim -count=1 -timeout 0 -run 'TestSeeds$$' -seeds=$(SEEDS) -first=$(FIRST) -v

.PHONY: dedup
dedup: ## Hold what SEEDS HA pairs are made into against a Prometheus that was never down, from seed FIRST on.
	$(GO) test ./querier/dedup -count=1 -timeout 0 -run 'TestLonePrometheus$$' -seeds=$(SEEDS) -first=$(FIRST)

.PHONY: lint
lint: $(GOLANGCI_LINT) ## golangci-lint over the modules but interop.
	$(GOLANGCI_LINT) run ./...
	cd e2e && ../$(GOLANGCI_LINT) run --config ../.golangci.yml ./...

# Built from the module proxy with a pinned version, so that every machine
# lints alike; a new version replaces the binary.
$(GOLANGCI_LINT): Makefile
	GOBIN=$(CURDIR)/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@touch $@

.PHONY: fuzz
fuzz: ## Every fuzz target for FUZZTIME (60s) each.
	@set -e; for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "== $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime $(FUZZMINIMIZE) $$pkg; \
	  done; done

.PHONY: bench
bench: ## What remote write costs, side by side with Prometheus (Linux, a few minutes).
	cd e2e && $(GO) run ./cmd/bench

.PHONY: bench-query
bench-query: ## What queries cost, side by side with Prometheus (Linux, some minutes).
	cd e2e && $(GO) run ./cmd/benchquery

.PHONY: bench-go
bench-go: ## Benchmarks beside the code, with allocations.
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./...

.PHONY: e2e
e2e: ## Real Prometheus, HAProxy, nginx and S3 server, and every fault a few times; needs Debian's haproxy, nginx and iproute2, and root for the faults.
	cd e2e && $(GO) test -count=1 -timeout 20m -p 1 ./...

.PHONY: e2e-minio
e2e-minio: ## The bucket's conformance suite on MinIO, which is built first (minutes).
	cd e2e && PENSTOCK_E2E_MINIO=1 $(GO) test -count=1 -timeout 30m -v -run TestMinIOConformance .

QUESTIONS ?= 5000
SEED ?=

.PHONY: random
random: ## QUESTIONS random questions to a Prometheus and to nodes with the same data, from SEED (or anything) on; the answers are to be the same.
	cd e2e && PENSTOCK_E2E_QUESTIONS=$(QUESTIONS) PENSTOCK_E2E_SEED=$(SEED) $(GO) test -count=1 -timeout 0 -v -run TestRandomQueries .

.PHONY: million
million: ## A topk over a million series on a node with 4 GiB (minutes).
	cd e2e && PENSTOCK_E2E_MILLION=1 $(GO) test -count=1 -timeout 30m -v -run TestMillionSeries .

DAYS ?= 365

.PHONY: year
year: ## A year of blocks in S3, compacted, downsampled, and asked beside a Prometheus that has them on its disk (a quarter of an hour).
	cd e2e && $(GO) test -count=1 -timeout 2h -v -run TestYear ./year -args -year.days=$(DAYS)

.PHONY: fault
fault: ## Every fault as often as a release needs it, and every acknowledged sample read back (Linux, root, about an hour).
	cd e2e && $(GO) test -count=1 -timeout 3h -v -run TestFault ./fault -args -fault.full

.PHONY: interop
interop: $(GOLANGCI_LINT) ## Thanos reads what Penstock wrote and the other way round; builds Thanos, which takes minutes the first time.
	cd interop && $(GO) mod tidy -diff && ../$(GOLANGCI_LINT) run --build-tags slicelabels --config ../.golangci.yml ./... && $(GO) test -tags slicelabels -count=1 -p 1 ./...

.PHONY: clean
clean: ## Remove what the targets above made.
	rm -rf penstock bin
