# Needs Go and GNU make 4 (on a Mac: `brew install make`, then gmake). All other
# tools are built from scripts/tools into .bin, at the versions pinned there.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --warn-undefined-variables

BIN := $(CURDIR)/.bin
MODULES := api services

# How long `make fuzz` spends on each target.
FUZZTIME ?= 30s
# How many faults `make crash` spreads over its set-ups.
ROUNDS ?= 20
# More flags of `baton bench`.
ARGS ?=
# How many seeds `make sim` lives through; SEED=17 is that one alone.
SEEDS ?= 200
SEED ?=

.PHONY: help
help: ## Show this menu
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

##@ Run

.PHONY: run
run: build ## Build Baton and run all of it in one process, with its data in ./data
	exec .bin/baton up --data ./data

.PHONY: build
build: ## Build .bin/baton
	cd services && CGO_ENABLED=0 go build -o $(BIN)/baton ./cmd/baton

##@ Test

# Where tests find real servers; `servers` has seen to it that both are there.
test-env = BATON_TEST_NATS_SERVER=$(BIN)/nats-server BATON_TEST_REDIS_SERVER="$$(scripts/ensure-redis)"

.PHONY: test
test: servers $(BIN)/testreport ## Run every test, with the race detector; a skipped test is a failure
	$(test-env) $(BIN)/testreport $(MODULES) -- -race -timeout 20m ./...

.PHONY: test-short
test-short: $(BIN)/testreport ## Run the tests that need seconds and no servers
	$(BIN)/testreport -allow-skips $(MODULES) -- -short ./...

.PHONY: crash
crash: servers $(BIN)/testreport ## Break processes and servers at random and compare what is left, ROUNDS=20 times
	BATON_CRASH_ROUNDS=$(ROUNDS) $(test-env) \
		$(BIN)/testreport services -- -race -timeout 4h -count=1 -run Crash ./cmd/baton/...

.PHONY: sim
sim: ## Live through SEEDS=200 simulations of everything going wrong, or through SEED=17 alone
	cd services && BATON_SIM_SEEDS=$(SEEDS) BATON_SIM_SEED=$(SEED) go test -timeout 0 -count=1 -v -run '^TestSimulation$$' ./simulation

.PHONY: mutate
mutate: ## Take away what keeps Baton right, one thing at a time: `make sim` must notice
	cd scripts/mutate && GOWORK=off go run .

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME=30s
	scripts/fuzz $(FUZZTIME) $(MODULES)

.PHONY: servers
servers: $(BIN)/nats-server ## Make sure of the servers that tests start, and print how tests find them
	@redis=$$(scripts/ensure-redis); \
	echo "export BATON_TEST_NATS_SERVER=$(BIN)/nats-server"; \
	echo "export BATON_TEST_REDIS_SERVER=$$redis"

##@ Measure

.PHONY: bench
bench: build servers ## Measure this machine's limit and Baton's share of it; ARGS="--events 200000 -o json" for other flags
	$(test-env) .bin/baton bench $(ARGS)

# It stands outside the workspace: Baton is not built with what it stands on.
.PHONY: bench-watermill
bench-watermill: build servers ## Measure a Watermill application doing the textbook's job beside Baton
	cd scripts/bench/watermill && CGO_ENABLED=0 GOWORK=off go build -buildvcs=false -o $(BIN)/bench-watermill .
	$(test-env) .bin/baton bench --only consume,scorer,textbook --against $(BIN)/bench-watermill $(ARGS)

##@ Check

.PHONY: lint
lint: $(BIN)/buf $(BIN)/golangci-lint ## Check style, the proto sources and who may import whom
	$(BIN)/buf lint
	@unformatted=$$(gofmt -l $(MODULES) scripts); \
	if [[ -n $$unformatted ]]; then echo "gofmt these:"; echo "$$unformatted"; exit 1; fi
	go vet work
	for module in $(MODULES); do (cd $$module && $(BIN)/golangci-lint run ./...); done
	for tool in testreport mutate; do (cd scripts/$$tool && GOWORK=off $(BIN)/golangci-lint run ./...); done

# The workspace hides a missing require line; GOWORK=off builds each module as
# its users do.
.PHONY: build-modules
build-modules: ## Build and vet each module by itself, without go.work
	for module in $(MODULES) scripts/bench/watermill; do \
		(cd $$module && export GOWORK=off && go mod tidy -diff && go build -o /dev/null ./... && go vet ./...); \
	done

.PHONY: breaking
breaking: $(BIN)/buf ## Compare the proto sources with those of the last release
	@if [[ ! -f proto/baseline.binpb ]]; then \
		echo "proto/baseline.binpb is missing: restore it, or make it from a release with 'make proto-baseline'"; \
		exit 1; \
	fi
	$(BIN)/buf breaking --against proto/baseline.binpb

.PHONY: generate-check
generate-check: generate ## Generate, and fail if anything changed
	git diff --exit-code -- api/gen
	@untracked=$$(git ls-files --others --exclude-standard -- api/gen); \
	if [[ -n $$untracked ]]; then echo "generated but not committed:"; echo "$$untracked"; exit 1; fi

##@ Change

.PHONY: generate
generate: $(BIN)/buf $(BIN)/protoc-gen-go $(BIN)/protoc-gen-go-grpc ## Generate api/gen from proto
	$(BIN)/buf generate

.PHONY: proto-baseline
proto-baseline: $(BIN)/buf ## At a release: take the proto sources as what must not break
	$(BIN)/buf build --exclude-source-info -o proto/baseline.binpb

.PHONY: tools
tools: $(addprefix $(BIN)/,buf protoc-gen-go protoc-gen-go-grpc golangci-lint nats-server testreport) ## Build every tool into .bin

.PHONY: clean
clean: ## Remove .bin; ./data stays
	rm -rf $(BIN)

# Each tool has a module of its own, so that no tool decides which version of a
# library another is built with. A tool is built again when its module changes.
#
# $(call build-tool,folder in scripts/tools,package)
define build-tool
@echo "building $(@F) (once)" >&2
cd scripts/tools/$(1) && CGO_ENABLED=0 GOWORK=off go build -buildvcs=false -ldflags='-s -w' -o $@ $(2)
@touch $@
endef

tool-module = scripts/tools/$(1)/go.mod scripts/tools/$(1)/go.sum

$(BIN)/buf: $(call tool-module,buf)
	$(call build-tool,buf,github.com/bufbuild/buf/cmd/buf)

$(BIN)/protoc-gen-go: $(call tool-module,plugins)
	$(call build-tool,plugins,google.golang.org/protobuf/cmd/protoc-gen-go)

$(BIN)/protoc-gen-go-grpc: $(call tool-module,plugins)
	$(call build-tool,plugins,google.golang.org/grpc/cmd/protoc-gen-go-grpc)

$(BIN)/golangci-lint: $(call tool-module,golangci-lint)
	$(call build-tool,golangci-lint,github.com/golangci/golangci-lint/v2/cmd/golangci-lint)

$(BIN)/nats-server: $(call tool-module,nats-server)
	$(call build-tool,nats-server,github.com/nats-io/nats-server/v2)

# What judges the tests is itself tested whenever it is built.
$(BIN)/testreport: $(wildcard scripts/testreport/*.* scripts/testreport/testdata/*)
	cd scripts/testreport && GOWORK=off go test . && CGO_ENABLED=0 GOWORK=off go build -buildvcs=false -o $@ .
	@touch $@
