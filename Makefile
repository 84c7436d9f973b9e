# Each target makes the environment it needs, from a bare Python 3.11 or newer; nothing else has to be installed.
#   .venv       the server alone: no torch            .venv-test  the server and the test tools: no torch
#   .venv-gpu   the same for RUNTIME=gpu              .venv-dev   everything: server, training, test tools
# A stamp in each environment makes the next call instant; a changed pyproject.toml installs again.

RUNTIME ?= cpu# or gpu: which ONNX Runtime `make serve` installs
$(if $(filter-out cpu gpu,$(RUNTIME)),$(error RUNTIME is cpu or gpu here, not $(RUNTIME); for TensorRT build the image, see app/Dockerfile))
SERVE_VENV := .venv$(if $(filter gpu,$(RUNTIME)),-gpu)

# The first Python on the path that is new enough. Looked for only when an environment has to be made.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$python; done))

NO_TORCH := 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") and "torch is in .venv-test")'
TINY_RUNS := runs/tiny
RECIPES = $(subst _,-,$(patsubst training/recipes/%/export.py,%,$(wildcard training/recipes/*/export.py)))

unexport PYTHONDONTWRITEBYTECODE # each process would compile all that it imports: a server starts in half the time, a test of many in less

.DEFAULT_GOAL := help
.PHONY: help serve test test-e2e test-server test-training lint format bench fuzz soak train-tiny clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(SERVE_VENV)/.installed ## Start the server on http://127.0.0.1:8000 (RUNTIME=gpu for CUDA; settings: AXON_*, see README.md)
	@$(SERVE_VENV)/bin/axon serve

test: ## Run every test, in three parts beside each other; the server's parts without torch
	@$(MAKE) --no-print-directory -j2 .venv-test/.installed .venv-dev/.installed
	@echo "Three parts beside each other; the other two say at the end what they found."
	@logs=$$(mktemp -d); running=; failed=0; for part in server training; do \
		$(MAKE) --no-print-directory test-$$part >"$$logs/$$part" 2>&1 & running="$$running $$!"; done; \
	$(MAKE) --no-print-directory test-e2e || failed=1; \
	for one in $$running; do wait $$one || failed=1; done; cat "$$logs/server" "$$logs/training"; rm -r "$$logs"; exit $$failed

test-e2e: .venv-test/.installed
	@.venv-test/bin/python -c $(NO_TORCH)
	@echo "The running server, where torch is not installed:"
	@.venv-test/bin/python -m pytest tests/e2e

test-server: .venv-test/.installed
	@.venv-test/bin/python -c $(NO_TORCH)
	@echo "The server's parts, where torch is not installed:"
	@nice -n 5 .venv-test/bin/python -m pytest --ignore=tests/e2e --ignore=tests/training

test-training: .venv-dev/.installed
	@echo "The training, with torch:"
	@OMP_NUM_THREADS=1 nice -n 10 .venv-dev/bin/python -m pytest tests/training

lint: .venv-test/.installed ## Check format, style, types, import contracts and Dockerfiles
	@.venv-test/bin/ruff format --check
	@.venv-test/bin/ruff check
	@.venv-test/bin/mypy
	@.venv-test/bin/lint-imports
	@if [ -x .venv-test/bin/hadolint ]; then .venv-test/bin/hadolint app/Dockerfile training/Dockerfile && echo "Dockerfiles are clean"; \
	else echo "hadolint has no package for this machine: the Dockerfiles were NOT checked"; fi

format: .venv-test/.installed ## Rewrite the code in the one format
	@.venv-test/bin/ruff format
	@.venv-test/bin/ruff check --fix

bench: .venv/.installed ## Measure throughput and latency over HTTP against the limit of this machine
	@.venv/bin/python -m bench

MINUTES ?= 10

fuzz: .venv-test/.installed ## Ill-treat a server on models/ for MINUTES=10: schemathesis, then a fuzzer of raw HTTP
	@.venv-test/bin/python -m tests.fuzz --minutes $(MINUTES)

soak: .venv-test/.installed ## A mixed load on a server for MINUTES=10, with clients that crash and models that come and go
	@.venv-test/bin/python -m tests.fuzz.soak --minutes $(MINUTES)

train-tiny: .venv-dev/.installed ## Train every recipe on its synthetic data, export, and check that the models can be served
	@set -e; for recipe in $(RECIPES); do for command in prepare train evaluate export; do \
		echo "axon-train $$recipe $$command --preset tiny"; \
		.venv-dev/bin/axon-train $$recipe $$command --preset tiny --run $(TINY_RUNS)/$$recipe --models $(TINY_RUNS)/models; \
	done; done
	@.venv-dev/bin/axon check $(TINY_RUNS)/models
	@echo "Serve them with: AXON_MODELS=$(TINY_RUNS)/models make serve"

clean: ## Remove the environments and every cache
	rm -rf .venv .venv-gpu .venv-test .venv-dev build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed: EXTRAS := cpu
.venv-gpu/.installed: EXTRAS := gpu
.venv-test/.installed: EXTRAS := cpu,otel,dev
.venv-dev/.installed: EXTRAS := cpu,otel,train,dev

%/.installed: pyproject.toml
	@$(if $(PYTHON),,$(error Axon needs Python 3.11 or newer; install it, or name yours: make PYTHON=/path/to/python3))
	@$(PYTHON) -c '$(NEW_ENOUGH)' || { echo "Axon needs Python 3.11 or newer; $(PYTHON) is older" >&2; exit 1; }
	@echo "Installing $(EXTRAS) into $* ..."
	@$(PYTHON) -m venv $* || { echo "this Python cannot make environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$*/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[$(EXTRAS)]'
	@touch $@
