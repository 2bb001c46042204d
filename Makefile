# The front door, for people and CI alike; `make help` lists the commands.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --quiet --disable-pip-version-check
# A test waits for clocks and sockets for more than half of its time: six at a time keep two cores
# busy.
JOBS   ?= 6
SRC    := $(shell find src -type f -not -name '*.pyc')
# Tests start hundreds of Python processes: compiled files are kept, outside of the tree.
CACHED := PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX=$(CURDIR)/$(VENV)/pycache
PYTEST := $(CACHED) $(BIN)/python -m pytest
MANY   := --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

.PHONY: help serve test test-portable test-deps torture coverage lint format bench sources release clean
help:                 ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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
	@$(BIN)/python .ci/install.py '.[test,lint]'
	@touch $(VENV)/.serve $@

serve: $(VENV)/.serve ## install and start the server on 127.0.0.1:8000, storing into ./uploads
	@$(BIN)/sluiceway serve --to ./uploads $(ARGS)

# Both wait for the network for most of their time: side by side.
.PHONY: prepared
prepared: $(VENV)/.test test-deps

test:                 ## install all that the tests need and run them
	@$(MAKE) --no-print-directory --jobs 2 prepared
	$(PYTEST) $(MANY) $(ARGS)

test-portable: $(VENV)/.test ## a journey on a system without what only some systems have
	$(PYTEST) tests/journeys/test_portable.py $(ARGS)

test-deps:            ## install the programs that the tests drive (Chromium, nginx …): as root on Debian
	@sh tests/install_needs.sh

# Beside more kills, cuts, random cases and larger files: what conftest.py leaves out of `make test`
# (tests marked `torture`; for variants of a store, the parts of its suite on reading and size).
torture: $(VENV)/.test ## the long proofs: many kills, cuts and random cases, large files in flat memory
	@sh tests/install_needs.sh torture
	SLUICEWAY_TORTURE=1 $(PYTEST) --timeout 3600 tests/reliability tests/wire tests/archives \
		tests/stores tests/memory tests/uploads/publishing \
		tests/browser tests/bench tests/journeys/test_copy_many.py tests/journeys/test_copy_memory.py \
		tests/journeys/test_copy_dask.py \
		tests/journeys/test_copy_resumed.py tests/journeys/test_copy_resumed_places.py \
		tests/journeys/test_copy_parallel.py \
		tests/journeys/test_untar.py \
		tests/journeys/test_names.py tests/journeys/test_refusals.py tests/journeys/test_doctor.py \
		tests/journeys/test_image.py tests/journeys/test_zip.py tests/journeys/test_copy_lent.py \
		tests/journeys/test_lent_traps.py tests/journeys/test_lent_relays.py \
		tests/journeys/test_gateway_spool.py tests/journeys/test_gateway_spool_edges.py \
		tests/journeys/test_gateway_spool_shared.py \
		tests/journeys/test_quota.py \
		tests/journeys/test_quota_endings.py tests/journeys/test_shared_quota.py \
		tests/journeys/test_rights_elsewhere.py \
		tests/journeys/test_replace.py tests/journeys/test_deploy_files.py \
		tests/journeys/test_virus_scan.py \
		tests/journeys/test_serving_tls.py tests/journeys/test_rights.py \
		tests/journeys/test_links.py tests/cli/test_token.py \
		tests/journeys/test_sorted_lists.py tests/journeys/test_no_pieces.py \
		tests/journeys/test_lent_pieces.py tests/journeys/test_gateway_read_back.py \
		tests/journeys/test_gateway_pieces.py tests/journeys/test_gateway_pieces_shared.py \
		tests/journeys/test_resumed_buckets.py tests/journeys/test_objects_everywhere.py \
		tests/journeys/test_portable.py tests/journeys/test_metrics.py \
		tests/journeys/test_watched_servers.py tests/journeys/test_wsgi_servers.py \
		tests/journeys/test_flask_mount.py tests/server/handlers/test_cut_elsewhere.py \
		tests/server/handlers/test_put_races.py \
		tests/testing tests/copying/endpoints/test_http.py tests/client/test_lent_files.py tests/interop/test_flask_apps.py \
		tests/interop/test_tus_clients.py tests/interop/test_copy_to_tuspyserver.py \
		tests/interop/test_fastapi_apps.py tests/interop/test_fastapi_tools.py \
		tests/interop/test_django_shop.py tests/interop/test_django_table.py $(ARGS)

# Each part is measured by itself and kept until a source or a test of it changes: an interrupted
# `make coverage` goes on with what is missing. Left out: what measures time, memory or texts.
COVERED  ?= pipe wire archives client stores uploads copying server wsgi cli limits testing \
	reliability interop browser journeys
MEASURED := $(VENV)/coverage
.SECONDEXPANSION:
coverage: $(COVERED:%=$(MEASURED)/%) ## branch coverage of the tests in COVERED, commands and servers included
	@$(BIN)/coverage combine --quiet --keep --data-file=$(MEASURED)/.all $^
	@$(BIN)/coverage report --data-file=$(MEASURED)/.all --show-missing > $(MEASURED)/.report.txt
	@grep ^TOTAL $(MEASURED)/.report.txt
	@echo "line by line: $(MEASURED)/.report.txt"

$(MEASURED)/.made: $(VENV)/.test
	@$(PIP) install --constraint constraints.txt '.[coverage]'
	@mkdir -p $(MEASURED)
	@touch $@

# A test that fails has run its lines as well. One that waits for a peer waits for a slower one.
$(COVERED:%=$(MEASURED)/%): $(MEASURED)/%: $(MEASURED)/.made $$(shell find tests/$$* -name '*.py')
	@rm -f $@.*
	-$(CACHED) COVERAGE_FILE=$@ $(BIN)/coverage run -m pytest $(MANY) --timeout 600 tests/$* $(ARGS)
	@$(BIN)/coverage combine --quiet --data-file=$@

lint: $(VENV)/.test   ## style and types (tests/architecture checks import order, names and sizes)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.test ## let ruff lay out the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.serve ## measure against peers and limits, paired, in one run (installs peers into .venv-bench)
	$(PYTHON) bench/run.py $(ARGS)

sources: $(VENV)/.serve ## measure the tables of the articles behind this project again
	$(PYTHON) bench/sources.py $(ARGS)

release: $(VENV)/.made ## build sdist and wheel into dist/, check them, and try the wheel in a clean environment
	@$(PIP) install --constraint constraints.txt hatchling
	@rm -rf dist
	$(BIN)/python -m hatchling build -t sdist -t wheel -d dist
	$(BIN)/python .ci/check_release.py dist

clean:                ## remove what make made
	rm -rf $(VENV) .venv-bench dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
