# Two commands matter: `make test` and `make demo`. `make` alone lists all.
#
# Everything lives in .venv, which is made when it is first needed and brought up to date when
# pyproject.toml changes. Real parts (llama-server, models) lie in a cache that clones share.

PYTHON ?= python3.11
ARGS ?=

# Tests start hundreds of processes and collect in three; none shall compile everything again.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
READY := $(VENV)/.ready
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test lint format docs bench stalls crowd faults soak nightly clean
.DELETE_ON_ERROR:

help: ## this list
	@echo 'make ...'
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST)
	@echo
	@echo 'ARGS="..." is passed on to demo, test, bench, faults and soak; PYTHON=... chooses the Python of .venv.'

demo: $(READY) ## fetch two real models, let them take turns, then stay up for you (Ctrl-C ends it)
	@$(BIN)/python tests/real/demo.py $(ARGS)

test: $(READY) ## all tests, with a real llama-server (70 MB are fetched once)
	@$(BIN)/python tests/real/parts.py llama-server
	@$(BIN)/python tests/judges/node_client.py
	@$(BIN)/python -m pytest -q -n 3 --no-loadscope-reorder $(ARGS)

lint: $(READY) build/types/arriero/__init__.py ## formatting, style, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(READY) ## put the formatting right
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: $(READY) ## write what is generated: config.schema.json, docs/config-parity.md
	@$(BIN)/python docs/generate.py

bench: $(READY) ## measure throughput and latency
	@$(BIN)/python -m tests.bench.run $(ARGS)

faults: $(READY) ## break everything in every situation (25 min); writes docs/reliability.md
	@$(BIN)/python tests/real/parts.py llama-server
	@$(BIN)/python -m tests.faults.run $(ARGS)

soak: $(READY) ## half an hour of everything at once: what grows?
	@$(BIN)/python -m tests.soak.run $(ARGS)

nightly: $(READY) ## what takes too long for each change: a third of faults, soak, thousands of examples
	@status=0; \
	$(BIN)/python -m tests.faults.run --third || status=1; \
	$(BIN)/python -m tests.soak.run || status=1; \
	HYPOTHESIS_PROFILE=nightly $(MAKE) --no-print-directory test || status=1; \
	exit $$status

crowd: $(READY) ## measure what 100, 1,000 and 5,000 clients cost that wait for one model
	@$(BIN)/python -m tests.bench.waiters $(ARGS)

stalls: $(READY) ## measure how long a client's bytes can keep all others waiting
	@$(BIN)/python -m tests.bench.stalls $(ARGS)

clean: ## remove .venv and all that was built; the cache of real parts stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# mypy does not run setuptools' import hook; these links show it the mapping of pyproject.toml.
build/types/arriero/__init__.py:
	@mkdir -p $(@D)
	@ln -sfn -t $(@D) ../../../supervisor ../../../worker ../../../protocol
	@ln -sfn -t $(@D) ../../../arriero/__init__.py ../../../arriero/__main__.py

# The log is shown only if something fails: a good installation has nothing to say.
$(READY): pyproject.toml
	@set -e; \
	python=; \
	for candidate in "$(PYTHON)" python3; do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	  then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo 'make: no Python 3.11 or newer; install one (apt install python3.11 python3.11-venv)' \
	    'or name one: make PYTHON=/path/to/python' >&2; exit 1; \
	fi; \
	if ! "$(BIN)/python" -m pip --version >/dev/null 2>&1; then \
	  if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	    version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	    echo "make: $$python cannot make a virtual environment: apt install python$$version-venv" >&2; \
	    exit 1; \
	  fi; \
	  rm -rf "$(VENV)"; \
	  "$$python" -m venv "$(VENV)"; \
	fi; \
	echo 'installing into $(VENV) (a minute or two) ...'; \
	mkdir -p build; \
	log=build/install.log; \
	if ! { "$(BIN)/python" -m pip install --disable-pip-version-check --upgrade 'pip>=24.1' && \
	       "$(BIN)/python" -m pip install --disable-pip-version-check -e '.[dev,demo]'; \
	     } >"$$log" 2>&1; then \
	  tail -n 25 "$$log" >&2; \
	  echo "make: cannot install; see above and $$log; behind a proxy set HTTPS_PROXY" >&2; \
	  exit 1; \
	fi; \
	touch $@
