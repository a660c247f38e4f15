# Every verb makes its own environment on a bare machine: Python 3.11 and make are enough.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .stamps/env
ARGS ?=
JOBS ?= 2

.PHONY: devnet test check slow bench proto lint types pins clean

NATIVE := hatch_build.py $(addprefix node/attestrio/zkevm/,poseidon.c poseidon_constants.json)

$(READY): constraints.txt pyproject.toml $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 14) else "attestrio needs Python 3.11, 3.12 or 3.13: make PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "setting up .venv (once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@mkdir -p .stamps && touch $(READY)

devnet: $(READY)        ## one command, one process: a main node and four attesters (ARGS="--batches 5")
	@$(BIN)/attestrio devnet $(ARGS)

test: $(READY)          ## the suite, without what is marked slow
	$(BIN)/pytest -q -n $(JOBS) -m "not slow" $(ARGS)

check: $(READY) lint types   ## lint, types, layers, longer property runs
	ATTESTRIO_PROFILE=long $(BIN)/pytest -q -n $(JOBS) -m "not slow and (hypothesis or check)" $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

slow: $(READY)
	$(BIN)/pytest -q -n $(JOBS) --dist loadfile -m slow $(ARGS)

bench: $(READY)
	@missed=; for script in bench/*.py; do case $$script in */_*) ;; *) echo "== $$script"; $(BIN)/python $$script $(ARGS) || missed="$$missed $$script";; esac; done; test -z "$$missed" || { echo "missed a target:$$missed"; exit 1; }

proto: $(READY)         ## compile proto/ into node/attestrio/schema/ (the result is committed, a test compares)
	$(BIN)/python proto/compile.py

pins: $(READY)          ## renew constraints.txt
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --all-extras --output-file constraints.txt pyproject.toml

clean:
	rm -rf .venv .stamps
