# Every target is one line; what it does is in the script it names.
PY := .venv/bin/python

.PHONY: help setup demo test lint types format protos pins dist clean
help:      ## show this list
	@grep -E '^[a-z]+: .*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12
setup:     ## make .venv with everything this machine can use (torch only with EXTRAS=torch)
	@./setup.sh $(EXTRAS)
demo: setup ## start a cell here, ask a real model a question, stop the cell
	@$(PY) -m sax_model.demo
test: setup ## every check and test that needs no accelerator
	@$(PY) ci/check.py all
lint:      ## ruff and import-linter
	@$(PY) ci/check.py lint
types:     ## mypy --strict
	@$(PY) ci/check.py types
format:    ## let ruff rewrite the tree
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .
protos:    ## regenerate the stubs from protos/saxml
	@$(PY) ci/protos.py generate
pins:      ## refresh requirements/*.txt from the newest packages that work together
	@$(PY) ci/pins.py
dist: setup ## build every wheel into dist/
	@$(PY) ci/dist.py
clean:     ## remove what can be made again
	@rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache
