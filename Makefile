# Two commands do everything on a machine that has Python 3.11 or 3.12, make and git: `make fit` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q

RECORDS := data/records/synthetic
RUNS := saved_models/synthetic-audio saved_models/synthetic-text saved_models/synthetic-early saved_models/synthetic-late
CLIP := data/synthetic/Actor_11/03-01-08-01-01-01-11.wav

# $(call train,NAME,FLAGS) trains saved_models/synthetic-NAME, or says that it exists.
define train
@if [ -f saved_models/synthetic-$(1)/scores.json ]; then echo "saved_models/synthetic-$(1) exists"; \
else (set -x; $(BIN)/python -m emotion_tf.fit --records $(RECORDS) --run saved_models/synthetic-$(1) $(2)); fi
endef

.PHONY: fit demo test test-slow bench lint docs clean

# The main job on the built-in synthetic corpus: records, three trainings and a late fusion, scores, export, prediction,
# and a report of the four runs.
fit: $(VENV)/lean
	$(BIN)/python -m pipelines.prepare --corpus synthetic --records $(RECORDS) --store-waveform
	$(call train,audio,--branch audio --epochs 10 --num-frames 128)
	$(call train,text,--branch text --epochs 10)
	$(call train,early,--branch fusion --init-audio saved_models/synthetic-audio \
	  --init-text saved_models/synthetic-text --epochs 5 --num-frames 128)
	$(call train,late,--branch fusion --fusion late --runs saved_models/synthetic-audio saved_models/synthetic-text)
	$(BIN)/python -m emotion_tf.evaluate --run $(RUNS)
	$(BIN)/python -m emotion_tf.export --run saved_models/synthetic-early
	$(BIN)/python -m emotion_tf.predict --model saved_models/synthetic-early $(CLIP) \
	  --transcript "They met a crowd with the teacher today."
	$(BIN)/python -m emotion_tf.report $(RUNS) --output saved_models/synthetic-report
	@echo "Look at the runs: saved_models/synthetic-report/report.html, or $(BIN)/tensorboard --logdir saved_models"

# The page to speak into, at http://localhost:8502; without any exported model it makes those of `make fit` first.
demo: $(VENV)/demo
	@if ! ls saved_models/*/export/*/saved_model.pb > /dev/null 2>&1; then \
	  $(MAKE) fit && for run in $(RUNS); do \
	    ls $$run/export/*/saved_model.pb > /dev/null 2>&1 || $(BIN)/python -m emotion_tf.export --run $$run || exit 1; \
	  done; \
	fi
	$(BIN)/python -m emotion_tf.demo

test: $(VENV)/all
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

# Tests that take long, and those that need a browser (Debian: apt-get install chromium): skipped without one.
test-slow: $(VENV)/all
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile --no-loadscope-reorder -rs

# Times everything beside librosa, PyTorch and openai-whisper, on a machine that does nothing else: about a quarter of
# an hour; make bench PARTS="step inference" does these parts alone.
bench: $(VENV)/all
	$(BIN)/python -m benchmarks.bench $(if $(PARTS),--parts $(PARTS))

lint: $(VENV)/all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site of docs/ and of the docstrings, in site/; a broken link or a docstring that cannot be read stops it.
docs: $(VENV)/all
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --clean
	@echo "read it: site/index.html, with search: $(BIN)/python -m http.server --directory site"

clean:
	rm -rf $(VENV) build site *.egg-info .pytest_cache .mypy_cache .ruff_cache

# What running needs (no torch): a minute or more, and about 3 GB.
$(VENV)/lean: setup.cfg pyproject.toml requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] <= (3, 12) else "$(PYTHON) is Python %d.%d: this needs 3.11 or 3.12, for instance make PYTHON=python3.11 $(MAKECMDGOALS)" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	@echo "installing what setup.cfg needs into $(VENV): a few minutes the first time"
	$(PIP) -c requirements.txt -e .
	@touch $@

# The page: without torch, so that whisper is not offered there.
$(VENV)/demo: $(VENV)/lean
	$(PIP) -c requirements.txt -e '.[demo,video]'
	@touch $@

# Everything: the extras, and the tools of development.
$(VENV)/all: $(VENV)/lean
	@echo "installing requirements.txt into $(VENV): a few minutes the first time"
	# Extras of Ray and moto have no place in a file of constraints, as which requirements.txt serves above.
	$(PIP) -r requirements.txt -e '.[dev,ray]'
	@touch $@
