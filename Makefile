# The verbs of this project. Each does its own set-up; CI calls the same ones.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COMMA := ,
SPACE := $(subst ,, )
METHOD := distill evaluation reader training pipeline retrieval
READY := $(VENV)/.ready

.PHONY: bench scale demo test check format clean setup chaos fuzz mutation coverage

setup: $(READY)

# torch is installed first and by its exact version, so that nothing below can pull in another build of it.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip -c constraints.txt
	$(BIN)/python -m pip install --quiet "$$(grep -i '^torch==' constraints.txt)" -c constraints.txt
	$(BIN)/python -m pip install --quiet --editable '.[dev]' -c constraints.txt
	touch $(READY)

demo: $(READY)
	$(BIN)/dogeared demo --out runs/demo

# By files, as what the tests of a file share is made once; in their order (tests/conftest.py), not by how many tests each has.
test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

bench: $(READY)
	$(BIN)/python -m benchmarks.speed $(NAMES)

scale: $(READY)
	$(BIN)/python -m benchmarks.scale

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/python scripts/audit.py

# The harnesses below take an hour or more, go on where they were stopped, and write their figures into
# docs/reliability.md. Each has a small version among the tests; make fuzz GUIDED=1000 and make chaos KILLS=20 do less,
# in a folder of their own, and write nothing there. Chaos goes on until it hit every step, some 250 kills.
KILLS := 300
GUIDED := 100000

chaos: $(READY)
	PYTHONPATH=tests $(BIN)/python -m chaos.harness --kills $(KILLS) --out runs/chaos$(patsubst 300,,$(KILLS))
	$(BIN)/python scripts/write_reliability.py chaos

fuzz: $(READY)
	PYTHONPATH=tests $(BIN)/python -m fuzz.run --guided $(GUIDED) --out runs/fuzz$(patsubst 100000,,$(GUIDED))
	$(BIN)/python scripts/write_reliability.py fuzz

# A change that no test notices and tests/mutation/survivors.toml does not explain fails.
mutation: $(READY)
	$(BIN)/mutmut run
	PYTHONPATH=tests $(BIN)/python -m mutation.survivors --out runs/mutation
	$(BIN)/python scripts/write_reliability.py mutation

# Of the layers that are the method; fewer than 95 of 100 branches fail.
coverage: $(READY)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	mkdir -p runs
	$(BIN)/coverage json -q -o runs/coverage.json --include='$(subst $(SPACE),$(COMMA),$(METHOD:%=*/dogeared/%/*))'
	$(BIN)/python scripts/write_reliability.py coverage

# Warnings are errors, links that lead nowhere among them; tests/test_site.py builds it too.
docs: $(READY)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo build/docs/index.html

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) runs dist build
