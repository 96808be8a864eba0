# `make demo` and `make test` need Python 3.11 or newer, make and the package index; they build .venv themselves.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# The tests of a file stay together: apart, two workers would compile the same kernels.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile

.PHONY: help demo test test-interpreted test-boundscheck lint types contracts wheel wheel-check docs bench bench-accuracy bench-calibration bench-batch kills bench-guard bench-smoke asv asv-check clean

help:  ## What there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

.venv/.base: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("edfast needs Python 3.11 or newer; this is %d.%d. Try: make PYTHON=python3.12" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(PIP) -e .
	@touch $@

.venv/.test: .venv/.base
	$(PIP) -e '.[test]'
	@touch $@

.venv/.dev: .venv/.test
	$(PIP) -e '.[dev]'
	@touch $@

demo: .venv/.base  ## Simulate a dozen DM4 images, recalibrate them, print found and true centres
	$(BIN)/edfast demo -o demo

# Each worker has a thread of OpenMP for each core; those that wait shall not spin: t-SNE took five times as long.
test: .venv/.test  ## The whole test suite
	OMP_WAIT_POLICY=passive $(PYTEST)

# Scalars of numpy warn where compiled ones do not.
test-interpreted: .venv/.test  ## Kernels as plain Python, on small input
	NUMBA_DISABLE_JIT=1 $(PYTEST) -q tests -m small -W "ignore:overflow encountered" -W "ignore:invalid value encountered"

test-boundscheck: .venv/.test  ## Kernels with every index checked, on small input
	NUMBA_BOUNDSCHECK=1 $(PYTEST) -q tests -m small

lint: .venv/.dev  ## Style
	$(BIN)/ruff check .

build/flat: .venv/.dev $(shell find edfast kernels -name '*.py*' -not -path '*__pycache__*')
	rm -rf build/flat
	$(PIP) --no-deps --target build/flat .
	@touch $@

types: build/flat  ## Types, on a flat copy: an editable install hides edfast.kernels from static tools
	cd build/flat && MYPYPATH=. ../../$(BIN)/mypy --config-file ../../pyproject.toml -p edfast

contracts: build/flat  ## Imports run one way, on the same flat copy
	cd build/flat && PYTHONPATH=. ../../$(BIN)/lint-imports --config ../../pyproject.toml --no-cache

# Not while the flat copy is made: both write to build/ and edfast.egg-info.
wheel: .venv/.dev | build/flat  ## Build the wheel and the source archive
	rm -rf dist
	$(BIN)/python -m build --outdir dist .

wheel-check: wheel  ## Nothing missing in the wheel, and it works without the tree
	$(BIN)/python tests/check_wheel.py dist/*.whl

docs: .venv/.dev  ## Documentation, in docs/_build/html
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

bench: .venv/.dev  ## The README's table of times
	$(BIN)/python -m benchmarks.table

# The other programs want other libraries than edfast: they get an environment of their own.
.venv-peers/.base: pyproject.toml
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -e '.[peers]'
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps py4DSTEM==0.14.16
	@touch $@

bench-accuracy: .venv-peers/.base  ## The README's table of errors and times beside other programs
	.venv-peers/bin/python -m benchmarks.accuracy --peers

bench-calibration: .venv/.dev  ## 200 simulated calibrations, and as many with a wrong structure
	$(BIN)/python -m benchmarks.calibration

bench-batch: .venv/.dev  ## Files a second of a batch beside the documented loop, and the latency of the tracker
	$(BIN)/python -m benchmarks.batch

kills: .venv/.dev  ## Kill a thousand runs, resume them, and compare with an undisturbed one
	$(BIN)/python -m benchmarks.kills

bench-guard: .venv/.dev  ## Fail when the documented fit has become slow
	$(BIN)/python -m benchmarks.guard

bench-smoke: .venv/.dev  ## Every benchmark once, on tiny input
	$(BIN)/python -m pytest benchmarks -q --size 256

asv: .venv/.dev  ## The asv suite in this environment
	$(BIN)/asv machine --yes
	$(BIN)/asv run --python=same --quick --show-stderr

asv-check: .venv/.dev  ## The asv suite can be discovered (bench-smoke runs it)
	$(BIN)/asv check --python=same

clean:  ## Remove what was built
	rm -rf .venv .venv-peers build dist demo docs/_build .asv *.egg-info
