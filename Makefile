# What can be done here. It needs Python 3.11 or newer, and make; everything else goes into .venv.

VENV := .venv
BIN := $(VENV)/bin

# How many processes the tests run in: by default one for each core.
WORKERS ?= auto

# The Python that the environment is made with: PYTHON if it is given, or else the first of these
# that is new enough.
new_enough = $(shell $(1) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(1))
PYTHON ?= $(or $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(call new_enough,$(name)))),python3)

PIP := $(BIN)/python -m pip --disable-pip-version-check -qq

# Each stamp says that one step of `make setup` is done. The first depends on the lock alone, so
# that a change of pyproject.toml does not download everything again.
LOCKED := $(VENV)/.locked
INSTALLED := $(VENV)/.installed
TRUSTED := $(VENV)/.trusted

# Where PYTHON is given and is of another version than the environment's, it is made anew.
ifneq ($(filter command environment,$(origin PYTHON)),)
ifneq ($(shell $(PYTHON) --version 2>&1),$(shell $(BIN)/python --version 2>&1))
.PHONY: $(LOCKED)
endif
endif

# Every module, by its dotted name.
DOCUMENTED = $(subst /,.,$(basename $(patsubst %/__init__.py,%.py,$(filter-out %/__main__.py,\
	$(sort $(shell find tradesys -name '*.py'))))))

# What is compiled (tradesys/status/incremental/compiled.py) is kept from the first use on; this uses all of it.
define ONE_ORDER
import tradesys
desk = tradesys.Network()
order = desk["c1"].submit(account="alice", symbol="ALFA", side="buy", order_qty=100, price="50.25")
desk.run()
desk["c1"].status(order), desk["c1"].statuses(), desk["c1"].positions()
endef
export ONE_ORDER

.DEFAULT_GOAL := help
.PHONY: help setup demo test soak lab cluster-demo app notebooks pictures html docs format bench lock clean

help: ## list what can be done
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "make %-12s  %s\n", $$1, $$2 }' Makefile

setup: $(TRUSTED) ## install everything into .venv, in the versions of requirements.lock

demo: setup ## run a trading day through a whole network, and show what came of it
	@$(BIN)/tradesys demo

test: setup ## check format, lint and types, then run every notebook and test; LONG=1 long ones too
	@$(BIN)/ruff format --check . || { echo "To mend it: make format"; exit 1; }
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/pytest -n $(WORKERS) --nbval $(if $(LONG),,-m "not long")

soak: setup ## what takes hours: 1,000 seeds, two minutes of threads, every line interrupted
	@$(BIN)/tradesys simulate --seeds 1000
	@TRADESYS_HISTORIES=20 TRADESYS_FUZZ=10000 TRADESYS_FUZZED_LOGS=10000 $(BIN)/pytest \
		-n $(WORKERS) tests/test_cluster_transport.py tests/tapes/test_fuzz.py tests/test_fixlogs.py
	@TRADESYS_STRESS_S=120 TRADESYS_INTERRUPT_EVERY=1 TRADESYS_CLICKS=100 $(BIN)/pytest \
		-n $(WORKERS) tests/test_threads.py tests/test_interrupts.py tests/browser/test_clicks.py

lab: setup ## open the notebooks in JupyterLab; LAB=--allow-root and the like go to it
	@JUPYTER_CONFIG_PATH="$(CURDIR)/.jupyter:$$JUPYTER_CONFIG_PATH" $(BIN)/jupyter lab $(LAB)

cluster-demo: setup ## run a made-up day through servers and processes on this machine, and audit it
	@$(BIN)/tradesys cluster demo

# A page that is closed ends its kernel by a request that Voila forgets to sign, hence the setting; it
# listens on this machine alone.
app: setup ## serve the desk as a web app (Voila); APP=--port=8866 and the like go to it
	@JUPYTER_PATH="$(CURDIR)/tradesys/widgets" $(BIN)/voila notebooks/app.ipynb --template=tradesys \
		--Voila.tornado_settings="{'disable_check_xsrf': True}" $(APP)

notebooks: setup ## run every notebook and store what it shows
	@$(BIN)/jupyter nbconvert --log-level=WARN --to=notebook --execute --inplace notebooks/*.ipynb \
		--ExecutePreprocessor.record_timing=False --ExecutePreprocessor.store_widget_state=False

pictures: setup ## take the pictures of the README anew, in a browser
	@$(BIN)/pytest tests/browser -n 0 --quiet
	@mkdir -p notebooks/pictures
	@for name in lab-cut lab-dark lab-light lab-story; do cp build/screenshots/$$name.png notebooks/pictures/; done

html: setup ## write the notebooks as pages into build/html; they load nothing from anywhere
	@$(BIN)/jupyter nbconvert --to html --log-level=ERROR --output-dir=build/html \
		--HTMLExporter.mathjax_url= --HTMLExporter.require_js_url= notebooks/[0-9c]*.ipynb
	@echo "build/html"

docs: setup ## write the documentation as pages that can be searched into build/docs; works offline
	@rm -rf build/docs
	@$(BIN)/python -W "ignore:The module specification" -m pdoc $(DOCUMENTED) \
		--output-directory build/docs --docformat restructuredtext
	@find build/docs -name '*.html' -exec sed -i.bak 's/<code>~/<code>/g' {} +
	@find build/docs -name '*.bak' -delete
	@echo "build/docs/index.html"

format: setup ## format the code and the notebooks, and mend what lint can mend by itself
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

bench: setup ## run the benchmarks in less than ten minutes; FULL=1 takes the large sizes, and hours
	@TRADESYS_BENCH_FULL=$(FULL) $(BIN)/python -m tests.benchmarks

lock: ## remake requirements.lock from pyproject.toml; UPGRADE=1 takes the newest versions
	@$(PYTHON) -m venv --clear build/uv
	@build/uv/bin/python -m pip --disable-pip-version-check -qq install uv
	@build/uv/bin/uv pip compile pyproject.toml --extra lab --extra cluster --extra tapes --group dev $(if $(UPGRADE),--upgrade) \
		--universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-annotate \
		--custom-compile-command "make lock" --quiet --output-file requirements.lock
	@echo "requirements.lock is remade. Next: make test"

clean: ## remove .venv and what tools leave behind; what runs wrote under data/ stays
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(LOCKED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "This needs Python 3.11 or newer, and '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)"; \
		echo "If you have a newer one, name it: make setup PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make environments: its venv module is missing."; \
		echo "On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version) and installing $$(grep -c == requirements.lock) packages: about a minute"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --require-hashes --requirement requirements.lock
	@touch $@

$(INSTALLED): $(LOCKED) pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@echo "Compiling the loops that keep the views, once"
	@find tradesys -name "*.nb[ci]" -delete
	@$(BIN)/python -c "$$ONE_ORDER"
	@touch $@
	@echo "$(VENV) is ready"

# JupyterLab shows the drawings and tables that a notebook has stored only if it is trusted here.
$(TRUSTED): $(INSTALLED) $(wildcard notebooks/*.ipynb)
	@$(BIN)/jupyter trust notebooks/*.ipynb >$@
