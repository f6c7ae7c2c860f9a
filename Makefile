# `make demo` and `make test` do all set-up by themselves, in .venv, and are safe to repeat.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The referee of tests/evaluation/test_official.py; setup.cfg says why it is installed without what it asks for.
REFEREE := cityscapesscripts==2.3.0
DEMO := --experiment=acf_aspp_small

.PHONY: help demo test test-browser test-gpu lint format install lock clean
.DEFAULT_GOAL := help

help:
	@echo "make demo     draw street scenes, train a small ACFNet on them, evaluate it, draw pictures (about 12 minutes)"
	@echo "make test     run the test suite"
	@echo "make test-browser  test the page of --mode=explore in a real browser (Chromium or Chrome, which must be installed)"
	@echo "make test-gpu test on a GPU what must hold there (make test hides GPUs)"
	@echo "make lint     check the code with ruff;  make format  puts it into shape"
	@echo "make install  only set up the virtual environment $(VENV)"
	@echo "make lock     resolve requirements.lock anew from setup.cfg"

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg setup.py pyproject.toml requirements.lock
	@echo "Setting up $(VENV) with $$($(PYTHON) --version): about 2 GB of packages, a minute or more."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "acfnet_tf needs Python 3.10 or newer: make PYTHON=...")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable . $(REFEREE)
	@touch $@

demo: install
	$(BIN)/python main.py --mode=train $(DEMO)
	$(BIN)/python main.py --mode=evaluate $(DEMO) --report
	$(BIN)/python main.py --mode=visualize $(DEMO)
	@echo
	@echo "Done. In runs/acf_aspp_small:"
	@echo "  model.keras                          the trained model, for keras.models.load_model"
	@echo "  report.html                          the evaluation with pictures, for a browser"
	@echo "  evaluation.md, evaluation.json       the same without pictures, for people and programs"
	@echo "  figures/results.png                  image, truth, coarse, fine, and where they differ"
	@echo "  metrics.csv, tensorboard/            the training;  tensorboard --logdir=runs"
	@echo "Next: . $(BIN)/activate, and for example"
	@echo "  python main.py --mode=explore $(DEMO)"
	@echo "  python main.py --mode=predict $(DEMO) --input=YOUR_IMAGES"
	@echo "  python main.py --mode=export $(DEMO) --format=onnx"
	@echo "  python main.py --mode=train --experiment=acf_aspp --data_dir=YOUR_CITYSCAPES"

test: install
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder --max-worker-restart=0

test-browser: install
	$(BIN)/python -m pytest -m browser -rs tests/browser

test-gpu: install
	$(BIN)/python -m pytest -m gpu -rs tests/gpu

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: install
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile setup.cfg --extra dev --universal --python-version 3.10 --no-header --no-annotate \
		--upgrade --output-file requirements.lock

clean:
	rm -rf $(VENV) build *.egg-info
