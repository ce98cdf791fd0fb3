# Everything a person needs: `make demo` and `make test` set up what they use, on a machine with git, make and Python.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# The packages that `parity` and `bench` compare with have an environment of their own: one of them wants an older timm.
VENV_PEERS  ?= .venv-peers
BIN_PEERS   := $(VENV_PEERS)/bin
STAMP_PEERS := $(VENV_PEERS)/.installed
PEERS       := cityscapesscripts, dynamic_network_architectures, maxflow, monai, pycocotools, sklearn, \
               segmentation_models_pytorch, surface_distance, tifffile, torchmetrics, transformers

.PHONY: setup demo test test-slow torture lint bench parity docs clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch torchvision
	$(BIN)/python -m pip install --quiet -e '.[demo,dev]'
	touch $@

$(STAMP_PEERS): pyproject.toml
	$(PYTHON) -m venv $(VENV_PEERS)
	$(BIN_PEERS)/python -m pip install --quiet --upgrade pip
	$(BIN_PEERS)/python -m pip install --quiet torch torchvision
	$(BIN_PEERS)/python -m pip install --quiet -e '.[demo,dev,bench]'
	$(BIN_PEERS)/python -W ignore -c 'import $(PEERS)'
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

bench: $(STAMP_PEERS)     ## speed, interleaved, ratios: every row of docs/performance.md (hours)
	for script in $(filter-out %/tail.py %/predict.py,$(wildcard benchmarks/*.py)); do $(BIN_PEERS)/python $$script || exit 1; done
	$(BIN_PEERS)/python benchmarks/tail.py --compile
	$(BIN_PEERS)/python benchmarks/predict.py --int8
	$(BIN_PEERS)/python benchmarks/predict.py --cold

parity: $(STAMP_PEERS)    ## compare with the originals, for docs/parity.md; then every other test with a peer (minutes)
	rm -f docs/records/parity.json
	ATROUS_PARITY=docs/records/parity.json $(BIN_PEERS)/python -m pytest -rs -m 'slow or not slow' --timeout 3600 \
	  tests/models/test_parity.py tests/models/test_counts.py tests/models/test_deeplab.py tests/models/test_unetpp.py \
	  tests/models/test_unet3d.py tests/models/test_vnet.py tests/models/test_nnunet.py tests/zoo/convert
	$(BIN_PEERS)/python -m pytest -rs -m 'slow or not slow' --timeout 3600 tests/models/test_upernet.py \
	  tests/models/test_fpn.py tests/models/test_segformer.py tests/encoders/test_mit.py tests/zoo/test_importer.py \
	  tests/zoo/test_nnunet.py tests/plan/test_nnunet_plans.py \
	  tests/compat tests/datasets/test_shapes.py tests/losses/test_peers.py tests/metrics/test_peers.py \
	  tests/metrics/test_foreign.py tests/ops/test_maxflow.py

docs: $(STAMP)            ## tables in docs that are made from the code
	$(BIN)/python docs/tables.py

clean:
	rm -rf $(VENV) $(VENV_PEERS) build dist .pytest_cache .mypy_cache .ruff_cache
