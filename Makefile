# The front door, for people and CI alike: serve · test · torture · lint · bench · sources · clean
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --quiet --disable-pip-version-check
# Most tests wait for clocks and sockets: three at once take 12 to 13 minutes on two cores; with four the processors are full.
JOBS   ?= 3
SRC    := $(shell find src -type f -not -name '*.pyc')

.PHONY: help serve test torture lint format bench sources clean
help:                 ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.made:
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# The wheel is installed, never the tree: what is tested is what is shipped.
$(VENV)/.serve: $(VENV)/.made pyproject.toml constraints.txt $(SRC)
	@echo "installing Sluiceway into $(VENV) ..."
	@$(PIP) install --constraint constraints.txt .
	@touch $@

$(VENV)/.test: $(VENV)/.made pyproject.toml constraints.txt $(SRC)
	@echo "installing Sluiceway and what its tests need into $(VENV) ..."
	@$(PIP) install --no-compile --constraint constraints.txt '.[test,lint]'
	@touch $(VENV)/.serve $@

serve: $(VENV)/.serve ## install and start the server on 127.0.0.1:8000, storing into ./uploads
	@$(BIN)/sluiceway serve --to ./uploads $(ARGS)

test: $(VENV)/.test   ## install everything the tests need and run them all
	@sh tests/install_needs.sh
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

torture: $(VENV)/.test ## the long proofs: many kills, many cuts, many random cases, large files in flat memory
	@sh tests/install_needs.sh
	SLUICEWAY_TORTURE=1 $(BIN)/python -m pytest tests/reliability tests/wire tests/stores tests/memory --timeout 3600 $(ARGS)

lint: $(VENV)/.test   ## style and types (the tests look at import order, names and texts)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.test ## let ruff lay out the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.serve ## measure against the peers, paired, in one run (installs them into .venv-bench)
	$(PYTHON) bench/run.py $(ARGS)

sources: $(VENV)/.serve ## measure the tables of the articles behind this project anew, and why uWSGI was slow in them
	$(PYTHON) bench/sources.py $(ARGS)

clean:                ## remove what make made
	rm -rf $(VENV) .venv-bench dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
