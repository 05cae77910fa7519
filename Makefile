# `make demo` and `make test` need only python3 (3.11 or newer, with venv) and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3 || command -v python)
# For example PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu": torch without its CUDA packages.
PIP_FLAGS ?=
INSTALL := pip install -qq --no-compile --disable-pip-version-check
# pip would compile on one core, and others' tests too. What is for another Python fails here as there, and harms nobody.
COMPILE := compileall -qq -j 0 -x '/tests?/'
WORKERS ?= 2

STAMP := .venv/.complete
RUN := .venv/bin
SERVE := .venv-serve
EXTRAS_serve := serve,tensorboard,wandb
EXTRAS_browser := browser
BROWSER := .venv-browser
# One thread a worker: the tests' matrices are small, and two pools on two cores only wait for each other. Tests are
# compiled for each process anew unless they may be kept. A worker takes neighbouring tests, which share what they need.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(RUN)/python -m pytest -q -n $(WORKERS) --dist worksteal
PRETENDED = $$(grep -rl --include='*.py' pytest.mark.pretended tests)  # only their files are imported
COMPILED = $$(grep -rl --include='*.py' pytest.mark.compiled tests)
UNCHECKED := -o addopts="--strict-markers --import-mode=importlib"  # without the hook that checks shapes

.PHONY: help env demo test test-serve test-servers test-browser test-slow campaign lint docs bench
.DELETE_ON_ERROR:

help:  ## show this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

env: $(STAMP)  ## build .venv, with .venv/bin/electra

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no python3 found; install Python 3.11 or newer, or say make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: $(PYTHON) is older than 3.11; say make PYTHON=/path/to/a/newer/python3"; exit 1; }
	@rm -f $@
	@echo "1/2 making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv || { echo "make: python's venv module is missing (on Debian: apt install python3-venv)"; exit 1; }
	@echo "2/2 installing electra and what it needs into .venv (torch is large: one to several minutes)"
	@$(RUN)/python -m $(INSTALL) $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	@$(RUN)/python -m $(COMPILE) .venv/lib || true
	@touch $@
	@echo "ready: .venv/bin/electra --help"

demo: env  ## the whole chain on the built-in corpus, about a quarter of an hour
	$(RUN)/electra demo

test: lint  ## style and types, then all tests but the slow ones
	$(PYTEST)
	$(PYTEST) -m "pretended and not slow" $(PRETENDED)
	$(PYTEST) -m "compiled and not slow" $(UNCHECKED) $(COMPILED)

# An environment on top of .venv: what is there is not installed again, and what the extra adds stays out of it.
.venv-%/.complete: $(STAMP)
	@rm -rf .venv-$*
	@$(RUN)/python -m venv --without-pip .venv-$*
	@$(RUN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> $$(.venv-$*/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/below.pth
	@echo "installing $(EXTRAS_$*) into .venv-$* (a minute)"
	@.venv-$*/bin/python -m $(INSTALL) $(PIP_FLAGS) -c constraints.txt -e '.[$(EXTRAS_$*)]'
	@.venv-$*/bin/python -m $(COMPILE) .venv-$*/lib || true
	@touch $@

test-serve: $(SERVE)/.complete  ## what others read of ours: ONNX Runtime, sentence-transformers, TensorBoard, W&B
	OMP_NUM_THREADS=1 $(SERVE)/bin/python -m pytest -q -n $(WORKERS) tests/serve

test-servers: env  ## exported folders in ten environments with other libraries (six minutes, 1.3 GB)
	OMP_NUM_THREADS=1 $(RUN)/python benchmarks/servers.py --environments .venv-servers

# Debian's browser and its driver, of one version; elsewhere both must be there as `chromium` and `chromedriver`.
test-browser: $(BROWSER)/.complete  ## the page of electra report in a real Chromium, without a window; writes screenshots/
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
		echo "installing chromium and chromium-driver"; \
		apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium chromium-driver >/dev/null; \
	} || { echo "make: no chromium with chromedriver, and apt-get brought none (it needs root)"; exit 1; }
	OMP_NUM_THREADS=1 $(BROWSER)/bin/python -m pytest -q tests/browser

test-slow: env  ## the slow tests
	$(PYTEST) -m "slow and not compiled and not pretended" --timeout 1800
	$(PYTEST) -m "slow and pretended" --timeout 1800 $(PRETENDED)
	$(PYTEST) -m "slow and compiled" $(UNCHECKED) --timeout 1800 $(COMPILED) || test $$? -eq 5  # 5: there are none

campaign: env  ## thousands of kills, faults and damaged files (hours); writes results/reliability.json
	OMP_NUM_THREADS=1 $(RUN)/python -m pytest -q -m slow --timeout 0 tests/reliability --campaign results/reliability.json

lint: env  ## style and types
	$(RUN)/ruff check src tests benchmarks examples docs/*.py
	$(RUN)/ruff format --check src tests benchmarks examples docs/*.py
	$(RUN)/mypy

docs: env  ## the API's pages, from the docstrings, in build/api
	$(RUN)/python docs/api.py build/api

bench: env  ## tokens a second on this machine, beside Hugging Face's classes
	$(RUN)/electra bench --preset small --against transformers
