# Recipes are plain sh. What is longer than a few lines lies in .make.
HERE := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))
ifneq ($(realpath $(HERE)),$(realpath .))
$(error all paths start where the Makefile lies: make -C $(HERE) $(MAKECMDGOALS))
endif

IMAGE_NAME ?= otc-route-manager
IMAGE_TAG ?= $(subst +,-,$(VERSION))
REGISTRY ?=
NAMESPACE ?= otc-route-manager
IMAGE = $(if $(REGISTRY),$(REGISTRY:%/=%)/)$(IMAGE_NAME):$(IMAGE_TAG)

GO ?= go
DOCKER ?= docker
KUBECTL ?= kubectl
BUILDER ?= golang:1.26# the image that docker-build compiles in
PLATFORM ?=# of the image, for example linux/amd64,linux/arm64
DOCKER_FLAGS ?=
RUNBOOKS ?=# where people read this project, such as https://git.example.com/netops/otc-route-manager/blob/main: the alerts link to it
TIMEOUT ?= 2m# how long deploy and restart wait for the next pod
PORT ?= 8080# of port-forward on this machine
NODE ?=# logs, check and port-forward: only the pod on this node
LIVE_ROUTE_TABLE ?=# of live: an empty route table of its own, which no subnet uses
LIVE_INSTANCE ?=# of live: an ECS instance in the VPC of that table
LIVE_CIDR ?=# of live: a range that nothing of that VPC uses
LOGIN ?= password# of the demo; id-token: with the token of a ServiceAccount
FUZZTIME ?= 30s
COUNT ?= 6# how often bench runs each Go benchmark
BENCHFLAGS ?=# of node/cmd/bench

# From git, or from the file that `make bundle` leaves. No time: the same commit, built the same way,
# gives the same bytes. (Built from vendor/, as a bundle is, Go leaves out the modules' checksums.)
VERSION ?= $(shell cut -d' ' -f1 .version 2>/dev/null || git describe --tags --always 2>/dev/null || echo dev)$(shell \
	git status --porcelain -uno -- '*.go' go.mod go.sum Dockerfile 2>/dev/null | sed -n '1s/.*/-dirty/p')
COMMIT ?= $(shell cut -d' ' -f2 .version 2>/dev/null || git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
LDFLAGS = -s -w -buildid= -X main.version=$(VERSION) -X main.commit=$(COMMIT)
# The linker throws DWARF away (-s -w), so the compiler need not write it: it is done a twelfth sooner.
BUILD = CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -gcflags=all=-dwarf=false -ldflags '$(LDFLAGS)'

SCRIPTS = $(filter-out .make/tools,$(wildcard .make/*))
CLUSTER = KUBECTL='$(KUBECTL)' NAMESPACE='$(NAMESPACE)' IMAGE='$(IMAGE)' RUNBOOKS='$(RUNBOOKS:%/=%)' GO='$(GO)' TIMEOUT='$(TIMEOUT)' NODE='$(NODE)' PORT='$(PORT)'
TOOL = cd .make/tools && GOFLAGS= $(GO) build -o ../../.cache/

.PHONY: help setup create-secrets create-configmap deploy status check logs port-forward restart undeploy \
	demo live deps build test lint fuzz bench e2e docker-build docker-push vendor bundle sbom vuln clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{name[++n] = $$1; what[n] = $$2} END {half = int((n + 1) / 2); \
		for (i = 1; i <= half; i++) printf "  %-16s %-26s %-13s %s\n", name[i], what[i], name[i + half], what[i + half]}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo '  image      $(IMAGE)    REGISTRY IMAGE_NAME IMAGE_TAG'
	@echo '  namespace  $(NAMESPACE)    NAMESPACE'
	@echo '  start      make demo, then make docker-build docker-push setup deploy'

setup: ## ask, check, store both
	@$(CLUSTER) sh .make/setup

create-secrets: ## store the credentials
	@$(CLUSTER) sh .make/setup secrets

create-configmap: ## store the settings
	@$(CLUSTER) sh .make/setup configmap

deploy: ## apply, wait for pods
	@$(CLUSTER) sh .make/deploy

status: ## each node, bad ones first
	@$(CLUSTER) sh .make/status

check: ## try each step in a pod
	@$(CLUSTER) sh .make/pod check

logs: ## follow the logs
	@$(CLUSTER) sh .make/pod logs

port-forward: ## metrics on localhost
	@$(CLUSTER) sh .make/pod port-forward

restart: ## new pods, four at a time
	@$(CLUSTER) sh .make/restart

undeploy: ## remove, routes stay
	@$(CLUSTER) sh .make/undeploy

demo: ## see it work, no cluster
	@echo 'ℹ️ compiling the program and the demo: a minute or two the first time, then seconds'
	@GOGC=400 $(BUILD) -o dist/ . ./node/cmd/demo # the compiler collects less garbage: a fifth less to do
	@exec dist/demo -bin dist/otc-route-manager -login $(LOGIN)

live: ## ask the real cloud
	@echo 'ℹ️ compiling: a minute the first time, then seconds' >&2
	@$(BUILD) -o dist/ ./node/cmd/live
	@LIVE_ROUTE_TABLE='$(LIVE_ROUTE_TABLE)' LIVE_INSTANCE='$(LIVE_INSTANCE)' LIVE_CIDR='$(LIVE_CIDR)' exec dist/live

deps: ## fetch the modules
	$(GO) mod download
	$(GO) mod verify

build: ## ./otc-route-manager
	$(BUILD) -o otc-route-manager .

# The largest tests run without the race detector: its runtime gives up, now and then, on the timers of
# many goroutines in one bubble (ThreadSanitizer: CHECK failed, golang/go#78156), and thousands of
# sequences take long. MODEL_SEQUENCES and HERD_NODES make them larger still.
LARGE = ^Test(Model|Herd)

test: ## with race detector
	@if echo '#include <stdlib.h>' | $$($(GO) env CC) -E - >/dev/null 2>&1; then \
		set -x; CGO_ENABLED=1 $(GO) test -race -skip '$(LARGE)' ./... && $(GO) test -run '$(LARGE)' ./node; \
	else \
		echo 'No C compiler here: the tests run without the race detector.'; set -x; $(GO) test ./...; \
	fi
	@echo 'Not in this: make e2e, against a real API server (minutes, more the first time).'

lint: ## code, scripts, workflow
	@unformatted=$$(gofmt -l main*.go metrics node otc); [ -z "$$unformatted" ] || { echo "gofmt: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(TOOL) honnef.co/go/tools/cmd/staticcheck
	.cache/staticcheck ./...
	$(TOOL) github.com/rhysd/actionlint/cmd/actionlint
	.cache/actionlint .github/workflows/*
	@if command -v shellcheck >/dev/null; then set -x; shellcheck -x $(SCRIPTS); else echo 'shellcheck is not installed: skipped'; fi

fuzz: ## each for FUZZTIME
	@$(GO) test -list '^Fuzz' ./... | awk '/^Fuzz/ {f[++n] = $$1} /^ok/ {for (i = 1; i <= n; i++) print $$2, f[i]; n = 0}' | \
		while read -r package name; do \
			echo "$$package $$name, $(FUZZTIME)"; \
			$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$package" || exit 1; \
		done

bench: build ## figures, bars, baseline
	@mkdir -p dist
	$(GO) test -run '^$$' -bench . -benchmem -count $(COUNT) ./... >dist/bench.txt || { cat dist/bench.txt; exit 1; }
	@if ($(TOOL) golang.org/x/perf/cmd/benchstat); then .cache/benchstat dist/bench.txt; else cat dist/bench.txt; fi
	$(GO) run ./node/cmd/bench -bin ./otc-route-manager -micro dist/bench.txt $(BENCHFLAGS)

e2e: ## real API server
	cd node/e2e && $(GO) test -v -count=1 -timeout 45m -parallel 4 .

HAVE_DOCKER = @command -v $(firstword $(DOCKER)) >/dev/null || { \
	echo '❌ $(firstword $(DOCKER)) is not installed. DOCKER=podman uses another' >&2; exit 1; }

docker-build: ## the image
	$(HAVE_DOCKER)
	$(DOCKER) build $(if $(PLATFORM),--platform $(PLATFORM)) --build-arg BUILDER=$(BUILDER) \
		--build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) $(DOCKER_FLAGS) -t $(IMAGE) .

docker-push: ## push the image
	@$(if $(findstring /,$(IMAGE)),,echo 'Where to? make docker-push REGISTRY=registry.example.com/team' >&2; exit 1)
	$(HAVE_DOCKER)
	$(DOCKER) push $(IMAGE)

IN_BUNDLE = $(wildcard SHA256SUMS)# it has no history, but vendor/

vendor: ## to build offline
	$(if $(IN_BUNDLE),,$(GO) mod vendor)

bundle: ## one archive, offline
	@GO='$(GO)' sh .make/bundle '$(VERSION)' '$(COMMIT)'

sbom: ## bill of materials
	$(TOOL) github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod
	@mkdir -p dist
	CGO_ENABLED=0 GOOS=linux .cache/cyclonedx-gomod app -json -licenses -std -noserial -notimestamp -output dist/otc-route-manager.cdx.json

vuln: ## known weaknesses
	$(TOOL) golang.org/x/vuln/cmd/govulncheck
	.cache/govulncheck ./...

clean: ## all that make made
	rm -rf otc-route-manager dist .cache $(if $(IN_BUNDLE),,vendor)
