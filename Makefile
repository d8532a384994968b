# `make` lists the targets. Each works alone on a fresh clone: it makes the environment first if need be.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.DEFAULT_GOAL := help
.PHONY: help install demo figure test lint types check slow bench docs peers lowest newest wheel site notebook
.PHONY: container recording workflow clean

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
	$(BIN)/python -m benchmarks.groups
	$(BIN)/python -m benchmarks.scaling outputs/scaling.png

docs: $(INSTALLED)  ## docs/configuration.md and docs/files.md, which are generated
	$(BIN)/python -m release.configuration_page > docs/configuration.md
	$(BIN)/python -m release.file_page > docs/files.md

.venv-peers/installed: pyproject.toml constraints-peers.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install -q -c constraints-peers.txt -e '.[peers]'
	@touch $@

.venv/installed-docs: $(INSTALLED)
	$(BIN)/pip install -q -c constraints.txt -e '.[docs]'
	@touch $@

.venv/installed-release: $(INSTALLED)
	$(BIN)/pip install -q -c constraints.txt -e '.[release]'
	@touch $@

.venv-uv/bin/uv: constraints.txt
	$(PYTHON) -m venv .venv-uv
	.venv-uv/bin/pip install -q -c constraints.txt uv
	@touch $@

# The commands themselves, and what leans on numpy, scipy, torch, pooch and safetensors.
VERSIONS := $(addprefix tests/test_, versions.py lock.py fit.py influence_solvers.py weights.py agreement.py \
  download.py mnist_files.py)
# Always from nothing: what is there already would not be replaced by an older or a newer version.
lowest newest: RESOLUTION = $(if $(filter lowest,$@),lowest-direct,highest)
lowest newest: .venv-uv/bin/uv
	.venv-uv/bin/uv venv -q --clear --python $(PYTHON) .venv-$@
	.venv-uv/bin/uv pip install -q --python .venv-$@ --resolution $(RESOLUTION) -e '.[dev]'
	.venv-$@/bin/pytest -q -n 2 --disable-warnings -o filterwarnings= -m "versions or not slow" $(VERSIONS)

lowest:  ## what must hold with any versions, with the oldest allowed, in .venv-lowest
newest:  ## the same with today's newest, in .venv-newest

METHODS := $(basename $(notdir $(wildcard configs/influence/*.yaml)))
# Where the source tree is not: an environment of its own, that finds nothing by PYTHONPATH.
wheel: export PYTHONPATH :=
wheel: .venv/installed-release  ## wheel and sdist in dist/, checked; the figure on digits from the installed wheel
	rm -rf dist .venv-wheel
	$(BIN)/python -m build -q
	$(BIN)/twine check --strict dist/*
	$(BIN)/python -m venv .venv-wheel
	.venv-wheel/bin/pip install -q -c constraints.txt dist/*.whl
	cd .venv-wheel && bin/repro run data=digits $(addprefix --method ,$(METHODS)) output_dir=outputs/demo
	cd .venv-wheel && bin/repro report data=digits output_dir=outputs/demo
	cd .venv-wheel && bin/repro check outputs/demo
	cd .venv-wheel && bin/python -I ../release/wheel.py outputs/demo $(METHODS)
	cd .venv-wheel && bin/repro --version

site: .venv/installed-docs  ## README and docs/ as a site in build/site; a broken link fails
	$(BIN)/mkdocs build --strict

# Programs of the environment are what `!repro` finds.
notebook: export PATH := $(CURDIR)/$(BIN):$(PATH)
notebook: .venv/installed-docs  ## execute examples/five_minutes.ipynb into outputs/five_minutes.ipynb
	rm -rf build/notebook
	mkdir -p build/notebook outputs
	cp examples/five_minutes.ipynb build/notebook
	$(BIN)/jupyter execute --inplace --timeout=600 build/notebook/five_minutes.ipynb
	cp build/notebook/five_minutes.ipynb outputs

container: $(INSTALLED)  ## build and run Containerfile; without docker or podman its steps, in a new environment
	$(BIN)/python -m release.container Containerfile

recording: $(INSTALLED)  ## docs/first_run.svg, the terminal of README, from a run
	$(BIN)/python -m release.recording docs/first_run.svg

workflow: $(INSTALLED)  ## the steps of the GitHub workflow, each job in a clone of its own
	$(BIN)/python -m release.workflow .github/workflows/ci.yml

peers: .venv-peers/installed  ## other packages on the same problem, in an environment of their own
	OMP_NUM_THREADS=1 .venv-peers/bin/python -m benchmarks.peers outputs/peers.png

clean:  ## remove the environments, what was built and the tools' caches; results in outputs/ stay
	rm -rf .venv .venv-peers .venv-uv .venv-lowest .venv-newest .venv-wheel build dist .mypy_cache .pytest_cache .ruff_cache
