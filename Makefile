# `make` alone prints what there is. The work is done by scripts/, which can be
# run on their own just as well.

.DEFAULT_GOAL := help
.PHONY: help setup demo lint test nightly bench

help: ## print this
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

setup: ## install what the tests need and this machine lacks (Debian)
	scripts/setup

demo: ## serve the demo on http://127.0.0.1:8080
	go run ./cmd/pazzo demo

lint: ## gofmt, vet, staticcheck, and each module on its own
	scripts/lint

test: setup ## all tests with -race, and each fuzzer for 10 seconds
	scripts/test
	scripts/test-clients
	scripts/fuzz 10

nightly: setup ## the full figures without -race, and each fuzzer for 10 minutes
	PAZZO_NIGHTLY=1 scripts/test
	PAZZO_NIGHTLY=1 scripts/test-clients
	scripts/fuzz 600

bench: setup ## the figures beside the peers', as ratios
	cd bench && GOWORK=off go run .
