# Two commands: `make run` to use it, `make test` to trust it.
DATA   ?= ./data
LISTEN ?= localhost:8443
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME ?= 10s
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

.PHONY: run build test check lint unit browser fuzz bench console tools clean

run: build ## start with eight live demo cameras
	./bin/bartizan serve --demo --data $(DATA) --listen $(LISTEN)

build: ## bin/bartizan, static, console included
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/bartizan ./cmd/bartizan

test: tools build lint unit console browser fuzz ## everything; installs what it needs

tools: ## the foreign programs tests speak to
	./lab/tools.sh
	cd security/authentication/testdata/oidc && npm ci --no-audit --no-fund
	cd lab/onvif/testdata/peers && npm ci --no-audit --no-fund

lint:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt would change:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...

unit: ## all Go tests, race detector on, foreign peers required
	BARTIZAN_PEERS=required go test -race -timeout 20m ./...
	BARTIZAN_PEERS=required CGO_ENABLED=1 go test -tags pkcs11 ./engine/pkcs11

console: ## the console is built from its source, and what is committed is that build
	cd console && npm ci --no-audit --no-fund && npm run check && npm test && npm run build
	@git diff --exit-code --stat -- console/dist console/src/api || { echo "console/dist is not what console/src builds: commit the build"; exit 1; }

browser: build ## a person's way through the console, in Chromium: the trials with the tag alone, unit has run the others
	@trials=$$(grep -rl '^//go:build browser' --include='*_test.go' conformance | xargs grep -hoE '^func Test[A-Za-z0-9_]+' | sed 's/^func //' | paste -sd '|'); \
	test -n "$$trials" && echo "in Chromium: $$trials" && \
	BARTIZAN_PEERS=required go test -tags browser -count=1 -timeout 20m -run "^($$trials)\$$" ./conformance/...

fuzz: ## every fuzz target for FUZZTIME
	./lab/fuzz.sh $(FUZZTIME)

check: lint ## the quick look before a commit
	go test ./...

bench: build ## the figures of the README
	./bin/bartizan bench record --json
	./bin/bartizan bench record --tls --json
	./bin/bartizan bench fanout --json
	./bin/bartizan bench fanout --tls --readers 50 --json
	./bin/bartizan bench seek --json

clean:
	rm -rf bin
