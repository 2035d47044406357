# Needs Python >= 3.11 and make. Installs into virtual environments, from lock files with a hash for every package:
# .venv (development), .venv-run (as for users), .venv-openai3 (openai 3.x, for a test).
# .venv-fresh has no lock: it holds what `pip install .` installs today, and is made again when pyproject.toml changes.
# --no-deps: the locks are complete, and pip would otherwise resolve to newer releases.

PYTHON ?= python3 python3.13 python3.12 python3.11
CONFIG ?= configs/quickstart.yaml
TESTS ?= tests
LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

DEV = .venv/.stamp-project
RUN = .venv-run/.stamp-project
OPENAI3 = .venv-openai3/.stamp-deps
FRESH = .venv-fresh/.stamp-deps
REAL = .real/.stamp
B = .venv/bin

.PHONY: default run test check fmt docs lock bench soak fuzz storm test-real clean
.DELETE_ON_ERROR:

default: test

run: $(RUN)  ## start the daemon on CONFIG (default: a demo that needs no key)
	@exec .venv-run/bin/gatewayd run --config $(CONFIG)

test: check $(OPENAI3) $(FRESH)  ## all checks of a change: lint, types, import contracts, docs, tests
	PYTHONDONTWRITEBYTECODE= GATEWAYD_TEST_PYTHONS=$(CURDIR)/.venv-openai3/bin/python \
		GATEWAYD_FRESH_PYTHON=$(CURDIR)/.venv-fresh/bin/python \
		$(B)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not real' $(TESTS)

check: $(DEV)  ## lint, types, import contracts, generated docs
	$(B)/ruff check .
	$(B)/ruff format --check .
	$(B)/mypy
	$(B)/lint-imports
	$(B)/python -m docs.generate --check

fmt: $(DEV)  ## format the code and apply ruff's fixes
	$(B)/ruff check --fix .
	$(B)/ruff format .

docs: $(DEV)  ## write the generated parts of docs/
	$(B)/python -m docs.generate

lock:  ## resolve the dependencies (needs uv); UPGRADE=1 allows newer versions
	$(LOCK) $(if $(UPGRADE),--upgrade) pyproject.toml --group dev -o requirements/dev.lock
	printf 'editables\nhatchling\n' | $(LOCK) pyproject.toml - -c requirements/dev.lock -o requirements/run.lock
	printf 'openai>=3,<4\n' | $(LOCK) - -o requirements/openai3.lock

bench: $(DEV)  ## gatewayd beside other gateways, one core each (needs nginx and wrk; an hour)
	$(B)/python -m benchmarks $(BENCH)

soak: $(DEV)  ## check a daemon under load, faults, client disconnects and edits for wrong answers and leaks; SOAK="--unary 1000000 --streams 100000"; "--storm 10000", "--flood 200", "--burst 100"
	$(B)/python -m tests.soak $(SOAK)
	$(B)/python -m tests.soak --flood 200
	$(B)/python -m tests.soak --flood 200 --workers 2
	$(B)/python -m tests.soak --burst 100

storm: $(DEV)  ## edits, half of them invalid, during 1,000 streams and 100,000 requests; STORM="--edits 100" for fewer
	$(B)/python -m tests.reload.storm $(STORM)

fuzz: $(DEV)  ## random input for all parsers; FUZZ="config sse --runs 1000000" (default: all targets, then new examples for all property tests; two minutes)
	$(B)/python -m tests.fuzz $(FUZZ)
	$(if $(FUZZ),,$(B)/python -m pytest -n 2 -m 'hypothesis and not real' --hypothesis-profile=new $(TESTS))

test-real: $(REAL)  ## the tests against a real language model (builds llama.cpp once: ten minutes)
	$(B)/python -m pytest -m real $(TESTS)

clean:  ## remove the environments and caches
	rm -rf .venv .venv-run .venv-openai3 .venv-fresh .real .bench .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist

.venv/.stamp-deps: requirements/dev.lock
.venv-run/.stamp-deps: requirements/run.lock
.venv-openai3/.stamp-deps: requirements/openai3.lock

.venv-fresh/.stamp-deps: pyproject.toml

.venv/.stamp-deps .venv-run/.stamp-deps .venv-openai3/.stamp-deps .venv-fresh/.stamp-deps:
	@for python in $(PYTHON); do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		echo "installing $< into $(@D) with $$python (once; a minute or two)"; \
		exec $$python -m venv --clear $(@D); \
	done; echo 'gatewayd needs Python 3.11 or newer; tried: $(PYTHON)' >&2; exit 1
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check \
		$(if $(filter pyproject.toml,$<),.,--no-deps --require-hashes -r $<)
	@touch $@

%/.stamp-project: %/.stamp-deps pyproject.toml
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(REAL): requirements/real.lock $(DEV)
	@$(B)/python -m venv --clear $(@D)
	@CMAKE_ARGS='-DLLAVA_BUILD=OFF -DLLAMA_CURL=OFF' $(@D)/bin/python -m pip install --quiet \
		--disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@
