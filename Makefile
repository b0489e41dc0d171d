# make demo: set up, index real text, search it.   make test: set up, check everything.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

export HF_HUB_OFFLINE ?= 1

.PHONY: demo test lint bench docs clean

demo: $(READY)
	$(BIN)/retrieval demo

test: $(READY)
	$(BIN)/python -m pytest -n auto --maxprocesses 4

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint docker/Dockerfile docker/Dockerfile.cuda
	$(BIN)/python -m index_tools.reference --check README.md

bench: $(READY)
	$(BIN)/python -m bench.search
	$(BIN)/python -m bench.kernels
	$(BIN)/python -m bench.filters
	$(BIN)/python -m bench.writes
	$(BIN)/python -m bench.recall --data synthetic:100000

docs: $(READY)
	$(BIN)/python -m index_tools.reference --write README.md

$(READY): pyproject.toml constraints.txt
	@echo "setting up $(VENV): packages are installed, which takes some minutes the first time"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info demo-data
	find . -name __pycache__ -prune -exec rm -rf {} +
