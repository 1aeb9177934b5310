# A fresh clone needs only make and Python 3.11, 3.12 or 3.13: the first of them that is installed.
PYTHON ?= $(or $(shell command -v python3.11 || command -v python3.12 || command -v python3.13),python3.11)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: setup train test lint docs results clean

setup: $(INSTALLED)

# torch first, at the version that constraints.txt pins: see the note there.
$(INSTALLED): pyproject.toml setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch numpy
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

# make train ARGS="model=p4unet data=kvasir"
train: $(INSTALLED)
	$(BIN)/python train.py $(ARGS)

# make test ARGS="-m 'not slow'"
test: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python

# Builds the documentation site in site/. A broken link is an error.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict

# Makes the tables and figures of docs/results from the archives in docs/results/runs. Where
# configs/study has a file of the same name (folds.yaml for folds-5), it declares the
# comparisons.
results: $(INSTALLED)
	for runs in docs/results/runs/*; do \
		study=$$(basename $$runs); \
		declared=$$(test -f configs/study/$${study%%-*}.yaml && echo study=$${study%%-*}); \
		rm -rf docs/results/$$study; \
		$(BIN)/python scripts/compare.py \
			$$declared runs=$$runs output=docs/results/$$study || exit 1; \
	done

clean:
	rm -rf $(VENV) outputs/cache site
