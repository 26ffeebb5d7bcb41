# Two commands set everything up on a fresh machine: make demo, make test.
# make help lists the rest.

BIN     ?= bin
ifndef VERSION
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
endif
MODULE  := github.com/caddy-whatsapp-flows/caddy-whatsapp-flows

CADDY_VERSION       := v2.11.9
XCADDY_VERSION      := v0.4.5
STATICCHECK_VERSION := v0.8.2

# Caddy's step-ca can store in three databases that nobody uses here; without
# them the binary is 6 MB smaller.
CADDY_TAGS := nobadger,nomysql,nopgx
WORKER_TAGS ?=

# What does the private operation of the keys in bin/caddy: auto is libcrypto
# (OpenSSL) where it can be built and crypto/rsa elsewhere; libcrypto fails where
# it cannot be built; go is crypto/rsa.
RSA ?= auto
ifeq ($(filter auto libcrypto go,$(RSA)),)
$(error RSA is "$(RSA)", expected auto, libcrypto or go)
endif
LIBCRYPTO_NEEDS := a C compiler and the headers of OpenSSL 3.0 or newer (Debian, Ubuntu: sudo apt-get install gcc libc6-dev libssl-dev)

# A condition of the shell: whether to build with libcrypto. The package itself
# is the probe; the first error of the compiler is in $$why.
WITH_LIBCRYPTO = [ "$(RSA)" != go ] && { why="$$(CGO_ENABLED=1 go build -tags libcrypto ./shared/flowcrypto/libcrypto 2>&1)" || { \
	[ "$(RSA)" != libcrypto ] || { echo "$$why" >&2; echo "RSA=libcrypto: install $(LIBCRYPTO_NEEDS), or leave RSA out" >&2; exit 1; }; false; }; }

# With cgo, names and users would be looked up by libc: Go's own stay.
LIBCRYPTO_TAGS := libcrypto,netgo,osusergo

# The version comes from VERSION: Go would ask git, which refuses in a directory
# of another user.
GO_BUILD := go build -trimpath -buildvcs=false
PACKAGES := ./shared/... ./migrations/... ./caddymodule/... ./worker/... ./harness/...
KEY_PACKAGES := ./shared/flowcrypto/... ./caddymodule/...
HARNESS  := go run ./harness/cmd/harness

.PHONY: help build libcrypto build-caddy build-worker demo run test lint fmt validate secrets bench bench-compare bench-growth chaos fuzz xcaddy clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: build-caddy build-worker ## bin/caddy (Caddy with the module) and bin/worker

build-caddy:
	@tags=$(CADDY_TAGS); export CGO_ENABLED=0; \
	if $(WITH_LIBCRYPTO); then \
		tags=$$tags,$(LIBCRYPTO_TAGS); CGO_ENABLED=1; \
		echo "$(BIN)/caddy: private keys by libcrypto (OpenSSL)"; \
	elif [ "$(RSA)" = go ]; then \
		echo "$(BIN)/caddy: private keys by crypto/rsa, as RSA=go says"; \
	else \
		echo "$(BIN)/caddy: private keys by crypto/rsa, which is two to three times as slow as libcrypto. For libcrypto install $(LIBCRYPTO_NEEDS)"; \
	fi; \
	set -x; $(GO_BUILD) -tags $$tags -ldflags "-s -w -X github.com/caddyserver/caddy/v2.CustomVersion=whatsapp-flows-$(VERSION)" -o $(BIN)/caddy ./caddymodule/cmd/caddy

build-worker:
	CGO_ENABLED=0 $(GO_BUILD) -tags "$(WORKER_TAGS)" -ldflags "-s -w -X main.version=$(VERSION)" -o $(BIN)/worker ./worker/cmd/worker

demo: build ## one whole conversation, as WhatsApp would have it, from end to end
	BIN=$(BIN) $(HARNESS) demo

run: build ## the same stack, left running until Ctrl-C
	go build -o $(BIN)/harness ./harness/cmd/harness
	@BIN=$(BIN) exec $(BIN)/harness run # not by go run, which fails on Ctrl-C

test: ## every test of every module, against a real Redis and a real Postgres
	RSA=$(RSA) $(HARNESS) test $(ARGS)

libcrypto: ## what the fast private key needs: looked for, and installed on Debian as root
	$(HARNESS) libcrypto

lint: ## gofmt, go mod tidy, go vet, staticcheck
	@unformatted="$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go'))"; \
	if [ -n "$$unformatted" ]; then echo "not gofmt-clean (run make fmt):"; echo "$$unformatted"; exit 1; fi
	@for module in shared migrations caddymodule worker harness; do (cd $$module && GOWORK=off go mod tidy -diff) || { echo "$$module/go.mod: run go mod tidy there, with GOWORK=off"; exit 1; }; done
	go vet $(PACKAGES)
	go vet -tags failpoints ./worker/...
	go run honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION) $(PACKAGES)
	@if $(WITH_LIBCRYPTO); then \
		set -ex; go vet -tags libcrypto $(KEY_PACKAGES); go vet -tags libcrypto,cgocall $(KEY_PACKAGES); \
		go run honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION) -tags libcrypto $(KEY_PACKAGES); \
	else \
		echo "not linted: what is built with libcrypto only"; \
	fi

fmt: build-caddy ## gofmt and caddy fmt, in place
	gofmt -w $$(git ls-files --cached --others --exclude-standard '*.go')
	$(BIN)/caddy fmt --overwrite Caddyfile

validate: build-caddy ## the shipped Caddyfile: its format, and that it loads
	@$(BIN)/caddy fmt Caddyfile >/dev/null || { echo "Caddyfile is not formatted: run make fmt"; exit 1; }
	@dir="$$(mktemp -d)"; trap 'rm -rf "$$dir"' EXIT; $(HARNESS) secrets "$$dir"; \
	XDG_DATA_HOME="$$dir" XDG_CONFIG_HOME="$$dir" REDIS_URL=redis://127.0.0.1:6379 \
	META_APP_SECRET_FILE="$$dir/app_secret" META_VERIFY_TOKEN_FILE="$$dir/verify_token" \
	PRIVATE_KEY_FILE="$$dir/flow.pem" PASSPHRASE_FILE="$$dir/flow.pass" \
	$(BIN)/caddy validate --config Caddyfile

secrets: ## throw-away secrets in ./secrets, to try docker-compose.yml with
	$(HARNESS) secrets secrets

bench: build ## what the edge and the worker cost on this machine, as a table
	go run ./harness/cmd/bench -bin $(BIN) $(ARGS)

bench-compare: build ## the edge beside that of another revision: make bench-compare BASE=HEAD~1
	@test -n "$(BASE)" || { echo "say which revision to compare with: make bench-compare BASE=HEAD~1"; exit 1; }
	go run ./harness/cmd/bench -bin $(BIN) -base $(BASE) $(ARGS)

bench-growth: build ## the same edge with more sessions, flows, shards, keys and payload
	go run ./harness/cmd/bench -bin $(BIN) -growth $(ARGS)

chaos: build-worker ## kills, cuts, full disks and failovers under load, and what became of every event
	go run ./harness/cmd/chaos -bin $(BIN) $(ARGS)

FUZZTIME ?= 10s
fuzz: ## every fuzz test for FUZZTIME (10s)
	@tags=; if $(WITH_LIBCRYPTO); then tags=libcrypto; fi; \
	for file in $$(grep -rl --include='*_test.go' '^func Fuzz' shared caddymodule worker harness); do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$file); do \
			echo "$$name in $$(dirname $$file)"; \
			go test -tags "$$tags" -run '^$$' -fuzz "^$$name\$$" -fuzzminimizetime 1x -fuzztime $(FUZZTIME) ./$$(dirname $$file) || exit 1; \
		done; \
	done

xcaddy: ## build with xcaddy as the README says, and look for the modules
	@export CGO_ENABLED=0 XCADDY_GO_BUILD_FLAGS="-ldflags='-s -w' -trimpath -tags=$(CADDY_TAGS)"; \
	if $(WITH_LIBCRYPTO); then CGO_ENABLED=1; XCADDY_GO_BUILD_FLAGS="$$XCADDY_GO_BUILD_FLAGS,$(LIBCRYPTO_TAGS)"; fi; \
	set -x; GOWORK=off go run github.com/caddyserver/xcaddy/cmd/xcaddy@$(XCADDY_VERSION) build $(CADDY_VERSION) \
		--output $(CURDIR)/$(BIN)/caddy-xcaddy \
		--with $(MODULE)/caddymodule@v0.0.0=./caddymodule \
		--replace $(MODULE)/shared=./shared
	@for module in whatsapp_flows http.handlers.whatsapp_flow http.handlers.whatsapp_webhook whatsapp_flows.endpoints.engine whatsapp_flows.endpoints.next; do \
		$(BIN)/caddy-xcaddy list-modules | grep -qx "$$module" || { echo "missing: $$module"; exit 1; }; \
		echo "has $$module"; \
	done

clean: ## remove what was built
	rm -rf $(BIN)
