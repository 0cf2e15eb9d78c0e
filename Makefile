# Everything below sets itself up in .venv from a fresh clone; nothing outside the repository is touched.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

DOCS := build/docs

# Of the demo's training run.
SEED ?= 0
# Two processes; tests that share models stay in one.
PYTEST := -n 2

.PHONY: help setup test test-all lint format demo demo-long docs bench clean

help:
	@echo "make test      tests and lint (about 10 minutes on 2 cores of an AMD EPYC)"
	@echo "make test-all  the slow tests too; graphs are traced and optimized everywhere, as for users"
	@echo "make demo      draw data, train a small model, score, export, to TensorFlow 1 and back: 5 to 9 minutes"
	@echo "make demo-long the same with a longer training"
	@echo "make bench     the benchmark of reading batches, which needs no data"
	@echo "make docs      the documentation site, in build/docs/site"
	@echo "make format    format the code"

setup: $(VENV)/.ready

# DenseCRF is compiled, and only -c needs it: without a C++ compiler everything else still works.
# Its sdist ships C++ code generated for older Pythons: Cython 3 writes it anew, which Python 3.13 needs.
$(VENV)/.ready: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "Python 3.10 to 3.13 is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	grep -v '^pydensecrf2' requirements.txt > $(VENV)/requirements.txt
	$(BIN)/python -m pip install --quiet -r $(VENV)/requirements.txt 'pytest>=8' pytest-xdist 'ruff>=0.9' jax \
	  fastapi uvicorn python-multipart prometheus-client swagger-ui-bundle httpx playwright 'argcomplete>=3' 'tf2onnx>=1.17' onnx onnxruntime ai-edge-litert
	$(BIN)/python -m pip install --quiet 'cython>=3' setuptools wheel
	CYTHON_FORCE_REGEN=1 $(BIN)/python -m pip install --quiet --no-build-isolation 'pydensecrf2>=1.1' \
	  || echo "pydensecrf2 was not built (is there a C++ compiler?): -c will not work, everything else does"
	touch $@

test: setup lint
	$(BIN)/python -m pytest $(PYTEST)

test-all: setup lint
	$(BIN)/python -m pytest $(PYTEST) -m ""

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: setup
	$(BIN)/python -m cmpc_tf2 demo --seed $(SEED)

demo-long: setup
	$(BIN)/python -m cmpc_tf2 demo --long --seed $(SEED) --output demo_long_output

# The pages keep their relative places, so that their links work on the site too.
docs: $(DOCS)/.ready
	rm -rf $(DOCS)/source && mkdir -p $(DOCS)/source/data
	cp -R README.md CHANGELOG.md CITATION.cff LICENSE docs notebooks $(DOCS)/source
	cp data/README.md $(DOCS)/source/data
	$(DOCS)/venv/bin/mkdocs build --strict

$(DOCS)/.ready: Makefile
	$(PYTHON) -m venv $(DOCS)/venv
	$(DOCS)/venv/bin/python -m pip install --quiet 'mkdocs>=1.6,<2' 'mkdocs-material>=9.6' 'mkdocstrings[python]>=0.30'
	touch $@

bench: setup
	$(BIN)/python benchmarks/input_pipeline.py

clean:
	rm -rf $(VENV) $(DOCS) demo_output demo_long_output
