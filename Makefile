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

# Torch's build is said, never guessed: a login node without a GPU would get the wrong one for the nodes that compute. Who says
# nothing gets what was installed last, at first the CPU's, which runs everywhere and is a tenth of the size.
ACCELERATOR ?= $(or $(patsubst $(VENV)/.torch-%,%,$(firstword $(wildcard $(VENV)/.torch-*))),cpu)
TORCH_VERSION := $(shell sed -n 's/^torch==//p' requirements.txt)
# On Linux PyPI's build is CUDA's; === takes no other.
TORCH_cuda := torch===$(TORCH_VERSION) -r requirements-cuda.txt
TORCH_cpu := torch==$(TORCH_VERSION) --extra-index-url https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

comma := ,
# PAPER=dph, RUNS='dph-*', TABLES=glue or SEEDS=1 choose a part of the results.
ONLY := $(if $(PAPER),paper: $(PAPER)$(comma)) $(if $(RUNS),runs: "$(RUNS)"$(comma)) $(if $(TABLES),tables: "$(TABLES)"$(comma)) $(if $(SEEDS),seeds: $(SEEDS))
SELECT = $(if $(strip $(ONLY)),--config 'only={$(strip $(ONLY))}')

# The tests of the whole workflow share its results and run in their order, those on a cluster after them, since their tables
# must be equal; all others run beside.
define TEST
mkdir -p scratch; python -m pytest $(1) tests/e2e tests/slurm > scratch/e2e.log 2>&1 & \
	whole=$$!; trap "kill $$whole" INT TERM; parts=0; flow=0; \
	python -m pytest $(1) --ignore tests/e2e --ignore tests/slurm || parts=$$?; \
	wait $$whole || flow=$$?; echo "tests of the whole workflow (tests/e2e, tests/slurm):"; cat scratch/e2e.log; exit $$(( parts || flow ))
endef

.PHONY: help install results test test-full test-slurm bench lint plan config report audit why reproduce why-rerun status waive publish push pack unpack clean lock lock-envs pin

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|'

$(VENV)/.python:
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not installed: install Python 3.11, or call make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# The wheel index is asked for torch alone and without retries, so that an unreachable one costs nothing.
$(VENV)/.torch-$(ACCELERATOR): requirements.txt requirements-cuda.txt | $(VENV)/.python
	@$(if $(TORCH_$(ACCELERATOR)),,echo "error: ACCELERATOR=$(ACCELERATOR) is no build of torch: give cpu or cuda" >&2; exit 1)
	@echo "installing locked versions into $(VENV)/, torch for ACCELERATOR=$(ACCELERATOR) (about 3 minutes)"
	@$(PIP) --no-deps --retries 0 $(if $(filter-out $@,$(wildcard $(VENV)/.torch-*)),--force-reinstall) $(TORCH_$(ACCELERATOR)) 2>&1 | { grep -v -e Retrying -e WARNING || true; }
	@rm -f $(VENV)/.torch-* && touch $@

$(VENV)/.installed: requirements.txt $(VENV)/.torch-$(ACCELERATOR)
	@$(PIP) -r requirements.txt -c requirements-cuda.txt 2>&1 | { grep -v WARNING || true; }
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@$(PIP) -r requirements-dev.txt 2>&1 | { grep -v WARNING || true; }
	@touch $@

install: $(VENV)/.installed  ## the locked environment in .venv/ (ACCELERATOR=cpu or cuda: the build of torch)

results: $(VENV)/.installed  ## every table, figure, record and the report (CONFIG=..., PAPER=..., RUNS=..., TABLES=..., SEEDS=how many, FORCE=an output to make again)
	@python -m preftune results --cores $(CORES) --configfile $(CONFIG) $(SELECT) $(if $(FORCE),--forcerun $(FORCE))

$(VENV)/validators/.installed: requirements-validators.txt | $(VENV)/.python
	@$(PYTHON) -m venv $(VENV)/validators
	@$(VENV)/validators/bin/python -m pip --disable-pip-version-check install --quiet --no-deps -r requirements-validators.txt 2>&1 | { grep -v WARNING || true; }
	@touch $@

$(VENV)/.browser: | $(VENV)/.python
	@{ command -v chromium || command -v chromium-browser || command -v google-chrome || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; }; } >/dev/null 2>&1 || echo "no Chromium could be installed: the test that reads the report in a browser is skipped"
	@touch $@

$(VENV)/.slurm: | $(VENV)/.python
	@{ command -v slurmctld && command -v mariadbd || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client slurmdbd munge mariadb-server mariadb-client; }; } >/dev/null 2>&1 || echo "no SLURM could be installed: the tests on a cluster are skipped"
	@touch $@

TESTED := $(VENV)/.installed-dev $(VENV)/validators/.installed $(VENV)/.browser $(VENV)/.slurm

test: $(TESTED)  ## the test suite
	@$(call TEST,-m "not slow")

test-full: $(TESTED)  ## the test suite with its slow parts
	@$(call TEST)

test-slurm: $(TESTED)  ## every test on a SLURM cluster of four nodes on loopback (needs root)
	@python -m pytest tests/slurm

bench: $(VENV)/.installed-dev  ## time and memory against TRL and lm-eval (17 minutes; CASES=dpo, sft, likelihood, memory, alignment, scores, features or adapters)
	@snakemake --cores 1 --quiet all -- resources/models/smollm2-135m-instruct resources/models/efficientnet-lite0
	@HF_HUB_OFFLINE=1 python -W ignore -m preftune bench --threads $(CORES) $(if $(CASES),--only '$(CASES)')

lint: $(VENV)/.installed-dev  ## formatting, style and types
	@ruff check . && ruff format --check . && snakefmt --check Snakefile workflow/rules && mypy

plan: $(VENV)/.installed  ## what a config costs before it runs: jobs, hours, disk, downloads (CONFIG=...)
	@python -m preftune plan --configfile $(CONFIG) $(SELECT)

config: $(VENV)/.installed  ## a run's resolved settings and the file of each key (RUN=...)
	@python -m preftune config --configfile $(CONFIG) --run $(RUN)

report: $(VENV)/.installed  ## the HTML report alone, with what it needs
	@python -m preftune results --cores $(CORES) --configfile $(CONFIG) -- export_report

audit: $(VENV)/.installed  ## every hash, link, aggregate and printed digit (CONFIG=..., or RESULTS=results/published/demo; DEEP=1 reads all bytes)
	@python -m preftune audit --configfile $(CONFIG) $(if $(RESULTS),--results $(RESULTS)) $(if $(DEEP),--deep) $(SELECT)

why: $(VENV)/.installed  ## the chain behind one number (TABLE=glue ROW='Ours (DPH)' COLUMN=CoLA)
	@python -m preftune why --configfile $(CONFIG) $(if $(RESULTS),--results $(RESULTS)) '$(TABLE)' '$(ROW)' '$(COLUMN)'

reproduce: $(VENV)/.installed  ## make again what one published number rests on, and compare its digits (CELL='race/Ours (SFT)/middle')
	@python -m preftune reproduce --configfile $(CONFIG) --cores $(CORES) '$(CELL)'

why-rerun: $(VENV)/.installed  ## which stages would run, why, and what that will cost
	@python -m preftune why-rerun --configfile $(CONFIG) $(SELECT)

# It installs nothing: a run in another terminal may be using what is there.
status:  ## stages done, running, queued and failed, steps and losses of trainings, hours used and left, while a run goes on (CONFIG=...)
	@test -f $(VENV)/.installed || { echo "error: nothing is installed in $(VENV)/, so nothing has run in this checkout: call make results first" >&2; exit 1; }
	@python -m preftune status --configfile $(CONFIG) $(SELECT)

waive: $(VENV)/.installed  ## declare that a change of code cannot change a number (RULES='train_*' REASON='...')
	@python -m preftune waive --configfile $(CONFIG) --rules '$(or $(RULES),*)' --reason '$(REASON)'

publish: $(VENV)/.installed  ## copy tables, figures and records to results/published/ and into the README (small-cpu: docs/results.md)
	@python -m preftune publish --configfile $(CONFIG) $(SELECT)

push: $(VENV)/.installed  ## upload one trained model to the hub, after an audit and your word (RUN=... REPO=owner/name, SEED=0, PUBLIC=1, YES=1)
	@python -m preftune push --configfile $(CONFIG) --seed $(or $(SEED),0) $(if $(PUBLIC),--public) $(if $(YES),--yes) '$(RUN)' '$(REPO)'

pack: $(VENV)/.installed  ## what a machine without a network needs beside the checkout, in small pieces (CONFIG=...; RESULTS=... packs results)
	@python -m preftune pack --configfile $(CONFIG) $(if $(RESULTS),--results $(RESULTS))

# Runs before anything is installed, with the Python that is there.
unpack:  ## join pieces and verify them; of inputs also make .venv/ over the machine's Python (FROM=folder)
	@python3 -m preftune.commands.unpack $(FROM)

lock: $(VENV)/.installed-dev  ## write requirements*.txt, envs/*.yaml and envs/Containerfile from requirements.in and what is installed
	@python -m preftune lock

pin: $(VENV)/.installed  ## config/pins.json: revision, size and hash of every file that is fetched, as they are now (NAMES="glue-cola opt-125m")
	@python -m preftune pin $(NAMES)

lock-envs: $(VENV)/.installed  ## what envs/*.yaml take from conda-forge, solved by the conda client on PATH
	@python -m preftune lock-envs

clean:  ## delete scratch/ and logs/; results/ and resources/ stay (it says how to delete them)
	@rm -rf scratch logs
	@echo "deleted scratch/ and logs/. Kept: results/, resources/ and .venv/; delete them by hand if you mean it (never results/published/)."
