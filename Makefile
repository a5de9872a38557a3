# `make run` and `make test` do all set-up; everything else builds on them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# On a machine without CUDA the CPU build of torch is enough; pip picks what its index offers.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# The long ones; seeded, so that they do the same each time. `make soak MINUTES=5` for a shorter one.
MINUTES ?= 30
.PHONY: run test check fuzz soak bench screenshots tiny clean

run: $(VENV)/.run
	$(BIN)/python app.py $(ARGS)

# Two processes of one thread each; a file's tests stay together, so that what they share is made once.
test: $(VENV)/.dev browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/bandit --quiet -ll --recursive app.py ui vlm
	$(BIN)/python tests/safety/audit.py

fuzz: $(VENV)/.dev
	$(BIN)/python tests/safety/fuzz.py $(ARGS)

soak: $(VENV)/.dev
	$(BIN)/python tests/safety/soak.py --minutes $(MINUTES) --picture docs/soak.png $(ARGS)

# Needs transformers, decord and matplotlib to compare with and to draw.
bench: $(VENV)/.dev
	$(BIN)/python -m vlm bench --write docs $(ARGS)

screenshots: $(VENV)/.dev browser
	$(BIN)/python tests/browser/screenshots.py

# The embedded model from nothing, in as many steps as the shipped one had; resumed by running it again.
STEPS ?= 6000
tiny: $(VENV)/.run
	OMP_NUM_THREADS=1 $(BIN)/torchrun --nproc-per-node 2 -m vlm train --out runs/tiny --steps $(STEPS)

$(VENV)/.run: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.txt
	touch $@

$(VENV)/.dev: requirements-dev.txt requirements-train.txt $(VENV)/.run
	$(PIP) -r requirements-dev.txt
	touch $@

# The browser tests drive Debian's Chromium; CHROMIUM names another one.
.PHONY: browser
browser:
	@command -v $${CHROMIUM:-chromium} >/dev/null || (apt-get update -qq && apt-get install -y -qq chromium >/dev/null)

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache
