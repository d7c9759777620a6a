# Two commands on a fresh machine with Python 3.11+, pip and make:
#   make learn   installs what it needs and learns two kernels
#   make test    installs the test extra and runs the suite
PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin

.PHONY: learn test test-thorough torch native bench wheels docs test-matrix test-large test-tpu test-arm \
	test-accelerator test-peers check format clean help
help:
	@sed -n '1,3p' Makefile

learn: $(VENV)/.cli
	$(BIN)/jaxconv learn

# These tests compile with XLA's default optimisations, as users do; the rest of the suite compiles
# with fewer, which is faster (tests/conftest.py).
AS_SHIPPED := $(addprefix tests/test_,examples.py large_kernels.py meaning.py methods.py precision.py \
	tiles.py tiles_methods.py)
test: $(VENV)/.test torch native
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not as_shipped and not thorough"
	$(BIN)/python -m pytest -n $(WORKERS) -m "as_shipped and not thorough" $(AS_SHIPPED)

# Every combination too that `make test` leaves out (tests/covering.py).
test-thorough: $(VENV)/.test torch native
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not as_shipped"
	$(BIN)/python -m pytest -n $(WORKERS) -m as_shipped $(AS_SHIPPED)

# torch, which some tests compare with, where pip finds a build without CUDA; prints one line.
torch: $(VENV)/.test
	@$(BIN)/python tests/install_torch.py

# The optional CPU plugin, if there is a C++ compiler; prints one line about the result.
native: | $(BIN)/python
	@$(BIN)/python native/install.py

# Every number of the tables of docs/performance.md.
bench: $(VENV)/.bench native
	$(BIN)/jaxconv bench --json bench.json --plot bench.png

# Both distributions' files in dist/, tried in an empty environment.
wheels: $(BIN)/python
	$(BIN)/python tests/wheels.py

# The documentation as a site: build/docs/index.html. It runs the examples, for a minute or two.
docs: $(VENV)/.docs
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs build/docs

# The suite on every Python found here, with the oldest and the newest libraries: a table.
test-matrix:
	$(PYTHON) tests/matrix.py

# An image of 40,000 x 40,000, tile by tile; needs 3.2 GB of disk.
LARGE ?= /tmp/jaxconv-large
test-large: $(VENV)/.test
	$(BIN)/python tests/large/tiles.py $(LARGE)

# Compiles for a TPU slice, with no TPU: libtpu needs an environment of its own.
test-tpu:
	$(PYTHON) -m venv .venv-tpu
	.venv-tpu/bin/pip install --quiet --editable '.[learn]' libtpu
	.venv-tpu/bin/python tests/tpu/check.py
	.venv-tpu/bin/python tests/tpu/depthwise.py

# The plugin's kernels for NEON on an emulated CPU, some minutes; needs a cross compiler and
# qemu-user, or says so.
test-arm: $(VENV)/.test
	$(BIN)/python tests/arm/check_kernels.py

# Everything on the GPU or TPU of this machine, into accelerator.json; without one it says so, and ends
# with error 3. JAX finds the device once its part for it is there: .venv/bin/pip install 'jax[cuda]'
# or 'jax[tpu]'. `make test-accelerator CASES=--whole` has every case in every dtype.
test-accelerator: $(VENV)/.test
	$(BIN)/python tests/accelerator/check.py --output accelerator.json $(CASES)

# Every case of SciPy's own tests against jaxconv.compat.scipy, about half an hour on two cores;
# `make test` runs a sample.
test-peers: $(VENV)/.test
	$(BIN)/python tests/peers/run.py --whole --limit 20000 --markdown docs/replacements.md

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# One stamp file per extra, so that a second call installs nothing.
$(VENV)/.%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("jaxconv needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) .venv-tpu .matrix build dist docs/generated learned bench.json bench.png accelerator.json .pytest_cache .ruff_cache
