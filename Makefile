# Each target makes what it needs itself: `make run` and `make test` work in a fresh clone.

BIN := .venv/bin
FAST := not system and not display and not alone and not soak and not fuzz
SLOW := (system or display) and not alone and not soak and not fuzz
ALONE := alone and not soak and not fuzz

.DEFAULT_GOAL := help
.PHONY: help setup setup-test setup-soak run test test-fast test-slow lint bench soak fuzz clean

help:  ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-11s %s\n", $$1, $$2}'

setup:  ## Make .venv with the homing command in it, and what it needs from Debian
	@sh packaging/bootstrap.sh run

setup-test:
	@sh packaging/bootstrap.sh test

setup-soak:
	@sh packaging/bootstrap.sh soak

run: setup  ## Start the tray, with a far end on this computer
	@$(BIN)/homing --keep-here

lint: setup-test  ## Check style, types and the walls between rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint test-fast test-slow  ## Check everything that a release promises

# Three files at once on two cores, for many tests wait; Qt in processes of its own; then the tests that
# start whole agents and desktops; at last, one by one, those that measure.
test-fast: setup-test  ## Run the tests that need no processes of their own
	$(BIN)/pytest -n 3 --dist loadfile -m "$(FAST)" --ignore tests/ui
	$(BIN)/pytest -n 2 --dist loadfile -m "$(FAST)" tests/ui

test-slow: setup-test  ## Run the tests with real processes and real displays
	$(BIN)/pytest -n 3 --dist loadfile -m "$(SLOW)" --durations 10
	$(BIN)/pytest -m "$(ALONE)"

bench: setup-test  ## Measure, side by side with what the machine allows (ARGS=--quick)
	$(BIN)/python -m benchmarks.run $(ARGS)

soak: setup-soak  ## Run the long tests
	$(BIN)/pytest -m soak --timeout 3600

fuzz: setup-test  ## Search at random for input that breaks something
	$(BIN)/pytest -m fuzz --timeout 3600

clean:  ## Remove everything that was made here
	rm -rf .venv build dist benchmarks/bin benchmarks/results tests/compat/node_modules
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
