# preftune: `make results` regenerates every table and figure at demo scale, `make test` runs the tests.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
CONFIG ?= config.yaml
CORES ?= 2
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PREFTUNE_PLAIN_PROGRESS := 1
export PYTHONPATH := $(CURDIR)/src

# On a machine without a GPU the CPU build of torch is what must be installed.
TORCH_SOURCE := $(shell command -v nvidia-smi >/dev/null 2>&1 || echo --extra-index-url https://download.pytorch.org/whl/cpu)
TORCH := $(shell sed -n 's/^torch==/torch==/p' requirements.txt)
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

comma := ,
# PAPER=dph, RUNS='dph-*' or TABLES=glue choose a part of the results.
ONLY := $(strip $(if $(PAPER),paper: $(PAPER)) $(if $(RUNS),$(if $(PAPER),$(comma)) runs: "$(RUNS)") $(if $(TABLES),$(if $(PAPER)$(RUNS),$(comma)) tables: "$(TABLES)"))
SELECT = $(if $(ONLY),--config 'only={$(ONLY)}')
SNAKEMAKE = snakemake --cores $(CORES) --configfile $(CONFIG)

# The tests of the whole workflow share its results and run in their order; all others run beside them.
define TEST
mkdir -p scratch; python -m pytest $(1) tests/e2e > scratch/e2e.log 2>&1 & \
	whole=$$!; trap "kill $$whole" INT TERM; parts=0; flow=0; \
	python -m pytest $(1) --ignore tests/e2e || parts=$$?; \
	wait $$whole || flow=$$?; echo "tests of the whole workflow (tests/e2e):"; cat scratch/e2e.log; exit $$(( parts || flow ))
endef

.PHONY: help results test test-full bench lint plan config report audit why why-rerun waive publish clean lock

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|'

$(VENV)/.python:
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not installed: install Python 3.11, or call make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# The wheel index is asked for torch alone and without retries, so that an unreachable one costs nothing.
$(VENV)/.installed: requirements.txt | $(VENV)/.python
	@echo "installing locked versions into $(VENV)/ (about 3 minutes)"
	@$(PIP) --no-deps --retries 0 $(TORCH_SOURCE) $(TORCH) 2>&1 | { grep -v -e Retrying -e WARNING || true; }
	@$(PIP) -r requirements.txt 2>&1 | { grep -v WARNING || true; }
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@$(PIP) -r requirements-dev.txt 2>&1 | { grep -v WARNING || true; }
	@touch $@

results: $(VENV)/.installed  ## every table, figure, record and the report (CONFIG=..., PAPER=..., RUNS=..., TABLES=..., FORCE=an output to make again)
	@python -m preftune results --cores $(CORES) --configfile $(CONFIG) $(SELECT) $(if $(FORCE),--forcerun $(FORCE))

$(VENV)/validators/.installed: requirements-validators.txt | $(VENV)/.python
	@$(PYTHON) -m venv $(VENV)/validators
	@$(VENV)/validators/bin/python -m pip --disable-pip-version-check install --quiet --no-deps -r requirements-validators.txt 2>&1 | { grep -v WARNING || true; }
	@touch $@

$(VENV)/.browser: | $(VENV)/.python
	@{ command -v chromium || command -v chromium-browser || command -v google-chrome || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; }; } >/dev/null 2>&1 || echo "no Chromium could be installed: the test that reads the report in a browser is skipped"
	@touch $@

test: $(VENV)/.installed-dev $(VENV)/validators/.installed $(VENV)/.browser  ## the test suite
	@$(call TEST,-m "not slow")

test-full: $(VENV)/.installed-dev $(VENV)/validators/.installed $(VENV)/.browser  ## the test suite with its slow parts
	@$(call TEST)

bench: $(VENV)/.installed-dev  ## time and memory against TRL and lm-eval (17 minutes; CASES=dpo, sft, likelihood, memory, alignment, scores, features or adapters)
	@snakemake --cores 1 --quiet all -- resources/models/smollm2-135m-instruct resources/models/efficientnet-lite0
	@HF_HUB_OFFLINE=1 python -W ignore -m preftune bench --threads $(CORES) $(if $(CASES),--only '$(CASES)')

lint: $(VENV)/.installed-dev  ## formatting, style and types
	@ruff check . && ruff format --check . && snakefmt --check Snakefile workflow/rules && mypy

plan: $(VENV)/.installed  ## what would run, and why (dry run)
	@$(SNAKEMAKE) --dry-run --quiet rules $(SELECT)

config: $(VENV)/.installed  ## a run's resolved settings and the file of each key (RUN=...)
	@python -m preftune config --configfile $(CONFIG) --run $(RUN)

report: $(VENV)/.installed  ## the HTML report alone, with what it needs
	@python -m preftune results --cores $(CORES) --configfile $(CONFIG) -- export_report

audit: $(VENV)/.installed  ## every hash, link, aggregate and printed digit (CONFIG=..., or RESULTS=results/published/demo; DEEP=1 reads all bytes)
	@python -m preftune audit --configfile $(CONFIG) $(if $(RESULTS),--results $(RESULTS)) $(if $(DEEP),--deep) $(SELECT)

why: $(VENV)/.installed  ## the chain behind one number (TABLE=glue ROW='Ours (DPH)' COLUMN=CoLA)
	@python -m preftune why --configfile $(CONFIG) $(if $(RESULTS),--results $(RESULTS)) '$(TABLE)' '$(ROW)' '$(COLUMN)'

why-rerun: $(VENV)/.installed  ## which stages would run, why, and what that will cost
	@python -m preftune why-rerun --configfile $(CONFIG) $(SELECT)

waive: $(VENV)/.installed  ## declare that a change of code cannot change a number (RULES='train_*' REASON='...')
	@python -m preftune waive --configfile $(CONFIG) --rules '$(or $(RULES),*)' --reason '$(REASON)'

publish: $(VENV)/.installed  ## copy tables, figures and records to results/published/ and into the README (small-cpu: docs/results.md)
	@python -m preftune publish --configfile $(CONFIG)

lock: $(VENV)/.installed-dev  ## write requirements*.txt and envs/*.yaml from requirements.in and what is installed
	@python -m preftune lock

clean:  ## delete scratch/ and logs/; results/ and resources/ stay (it says how to delete them)
	@rm -rf scratch logs
	@echo "deleted scratch/ and logs/. Kept: results/, resources/ and .venv/; delete them by hand if you mean it (never results/published/)."
