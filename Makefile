# `make` lists the targets. Each works alone on a fresh clone: it makes the environment first if need be.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.DEFAULT_GOAL := help
.PHONY: help install demo figure test lint types check slow bench docs peers clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 20

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

install: $(INSTALLED)  ## environment in .venv, exact versions of constraints.txt

demo: $(INSTALLED)  ## from nothing to the report on scikit-learn's digits (no download, seconds)
	$(BIN)/repro run data=digits --method exact --method cg --method lissa --method grad_dot output_dir=outputs/demo
	$(BIN)/repro report data=digits output_dir=outputs/demo --quiet --open
	@echo
	@echo "The page: outputs/demo/report.html. The figure: outputs/demo/plots/leave_one_out.png; every number"
	@echo "behind it is in outputs/demo/leave_one_out.csv."
	@echo "Next: make figure (the same on MNIST), or .venv/bin/repro --help."

figure: $(INSTALLED)  ## the figure of the paper on MNIST (downloads it, then about 3 minutes on 2 cores)
	$(BIN)/repro run --method exact --method cg --method lissa --method grad_dot output_dir=outputs/figure
	$(BIN)/repro report output_dir=outputs/figure --quiet --open
	@echo
	@echo "The page: outputs/figure/report.html. The figure: outputs/figure/plots/leave_one_out.png"

lint: $(INSTALLED)  ## ruff: style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)  ## mypy, strict, on package and tests
	$(BIN)/mypy

test: $(INSTALLED)  ## the tests that take minutes at the most, in two processes
	$(BIN)/pytest -n 2 --dist worksteal

check: lint types test  ## all that a change must pass

slow: $(INSTALLED)  ## the tests that take longer: the whole figure on MNIST
	$(BIN)/pytest -m slow

bench: $(INSTALLED)  ## the measurements of docs/benchmarks.md
	$(BIN)/python -m benchmarks.figure
	$(BIN)/python -m benchmarks.solvers
	$(BIN)/python -m benchmarks.leave_one_out
	$(BIN)/python -m benchmarks.scaling outputs/scaling.png

docs: $(INSTALLED)  ## docs/configuration.md from the schema and the YAML files
	$(BIN)/python -m configs.page > docs/configuration.md

.venv-peers/installed: pyproject.toml constraints-peers.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install -q -c constraints-peers.txt -e '.[peers]'
	@touch $@

peers: .venv-peers/installed  ## other packages on the same problem, in an environment of their own
	.venv-peers/bin/python -m benchmarks.peers outputs/peers.png

clean:  ## remove the environment and the tools' caches; results in outputs/ stay
	rm -rf .venv .venv-peers .mypy_cache .pytest_cache .ruff_cache
