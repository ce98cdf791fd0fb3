# Everything a person needs: `make demo` and `make test` set up what they use, on a machine with git, make and Python.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: setup demo test test-slow torture lint bench parity docs clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch torchvision
	$(BIN)/python -m pip install --quiet -e '.[demo,dev]'
	touch $@

setup: $(STAMP)

demo: $(STAMP)            ## train, judge and map the land cover of the Earth
	$(BIN)/atrous demo

test: $(STAMP)            ## the default suite: offline, under 10 minutes on two cores
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(STAMP)       ## what takes minutes
	$(BIN)/python -m pytest -m slow --timeout 3600

torture: $(STAMP)         ## kill and fuzz tests at full N
	$(BIN)/python -m pytest -m torture

lint: $(STAMP)            ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)           ## speed, interleaved, ratios: every row of docs/performance.md (hours)
	for script in $(filter-out %/tail.py %/predict.py,$(wildcard benchmarks/*.py)); do $(BIN)/python $$script || exit 1; done
	$(BIN)/python benchmarks/tail.py --compile
	$(BIN)/python benchmarks/predict.py --int8
	$(BIN)/python benchmarks/predict.py --cold

parity: $(STAMP)          ## compare with the originals, for docs/parity.md (minutes; needs the [bench] extra)
	$(BIN)/python -c 'import dynamic_network_architectures, segmentation_models_pytorch, transformers'
	rm -f docs/records/parity.json
	ATROUS_PARITY=docs/records/parity.json $(BIN)/python -m pytest -m 'slow or not slow' --timeout 3600 tests/models/test_parity.py \
	  tests/models/test_counts.py tests/models/test_deeplab.py tests/models/test_unetpp.py tests/models/test_unet3d.py \
	  tests/models/test_vnet.py tests/models/test_nnunet.py tests/zoo/convert

docs: $(STAMP)            ## tables in README and docs that are made from the code
	$(BIN)/python docs/tables.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
