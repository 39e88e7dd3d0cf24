# Two commands for a fresh machine with Python 3.11 and pip: `make demo` and `make test`.
# A second call finds .venv ready and starts at once. PYTHON=python3.12 make demo takes another interpreter.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Every version is pinned by requirements.lock; torch comes first, because its build decides what else is needed.
PIP     = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock

.PHONY: demo test check learn clean

demo: $(VENV)/demo.ready
	$(BIN)/python train.py

# Three workers also on two cores: many tests wait for other processes.
test: $(VENV)/test.ready check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

check: $(VENV)/test.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/pyright --project pyrightconfig.strict.json
	$(BIN)/codespell README.md docs worldmodels conf tests benchmarks

learn: $(VENV)/test.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

clean:
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/torch.ready: $(BIN)/python requirements.lock
	$(PIP) torch==2.13.0
	touch $@

$(VENV)/demo.ready: $(VENV)/torch.ready pyproject.toml
	$(PIP) --editable '.[minatar]'
	touch $@

$(VENV)/test.ready: $(VENV)/torch.ready pyproject.toml
	$(PIP) --editable '.[all,dev]'
	touch $(VENV)/demo.ready $@
