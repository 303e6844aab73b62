# Everything here is one command that also works alone; make only names it.

DURATION = 10m
SEED = 0
# empty is SQLite, postgres a throwaway PostgreSQL
DATABASE =

.PHONY: build test lint ci bench sdk fuzz torture nodes

build:          ## the binary, ./switchhook
	go build -o switchhook ./cmd/switchhook

test:           ## every test
	go test -shuffle=on ./...

race:           ## every test, with the race detector (needs a C compiler)
	GOFLAGS=-race go test -shuffle=on ./...

lint:           ## gofmt, go vet, staticcheck, govulncheck
	.ci/lint

sdk:            ## what the tests of the vendor's SDK need
	npm ci --prefix test/sdk

fuzz:           ## every fuzz target for ten minutes
	.ci/fuzz 10m

torture:        ## kill, stop and break everything around a server for DURATION; SEED replays the faults
	go test -count=1 -v -timeout=0 ./test/torture -duration=$(DURATION) -seed=$(SEED) -database=$(DATABASE)

nodes:          ## three nodes, one killed every 5 s, PostgreSQL restarted twice: 50,000 events
	SWITCHHOOK_NODES_EVENTS=50000 go test -count=1 -timeout 30m -run TestThreeNodes -v ./test/nodes | grep -v level=

bench:          ## everything in docs/benchmarks.md, measured anew (ten minutes)
	go run ./bench --out docs/benchmarks.md

ci:             ## what CI runs
	.ci/run
