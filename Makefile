# Everything sets itself up. Settings are passed on: `make serve PORT=9000 MODEL=/models/qwen`.
# vLLM's own options: `make serve OPTIONS="--max-model-len 4096"`.

SHELL := /bin/bash
PYTHON := $(shell command -v python3.11 || command -v python3.12 || command -v python3)
KIND := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
BIN := .venv/bin
CHECK := $(or $(wildcard .venv/.installed-dev),.venv-check/.installed)
OPTIONS ?=

# With it set, every process would compile vLLM anew: 10 s more per start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: serve doctor install test check widget pins clean

serve: .venv/.installed-$(KIND)
	@exec $(BIN)/python -m server $(if $(OPTIONS),-- $(OPTIONS))

doctor: .venv/.installed-$(KIND)
	@$(BIN)/python -m server doctor

install: .venv/.installed-$(KIND)

test: .venv/.installed-dev
	@tests/install-tools
	@tests/run

# Needs neither vLLM nor torch: it uses the full environment where there is one, else makes a light one.
check: $(CHECK)
	$(dir $<)bin/ruff check .
	$(dir $<)bin/ruff format --check .
	$(dir $<)bin/mypy
	$(dir $<)bin/python -m pytest -m "not vllm" tests/test_architecture.py tests/test_private_parts.py

widget:
	cd static/src && npm install --no-audit --no-fund && npm run build

pins: .venv/.installed-$(KIND)
	@requirements/compile

clean:
	rm -rf .venv .venv-check .mypy_cache .pytest_cache .ruff_cache .hypothesis static/src/node_modules

.venv/.installed-$(KIND): requirements/$(KIND).txt $(wildcard requirements/overrides*.txt) requirements/install
	@requirements/install $(PYTHON) requirements/$(KIND).txt
	@touch $@

.venv/.installed-dev: .venv/.installed-$(KIND) requirements/dev.txt
	@requirements/install $(PYTHON) requirements/$(KIND).txt requirements/dev.txt
	@touch $@

.venv-check/.installed: requirements/check.txt requirements/install
	@VENV=.venv-check requirements/install $(PYTHON) requirements/check.txt
	@touch $@
