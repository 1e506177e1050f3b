# make run     an origin and an edge on this machine, playing the demo film
# make test    everything the project checks itself with
# make bench   every measurement, beside the servers it compares with; results in build/bench (BENCH="--only fanout")
# make clean   back to a fresh checkout
#
# Needs Python 3.11 (other name: make PYTHON=python3.12 run). What else is missing is installed.

PYTHON ?= python3
VENV ?= .venv
export PYTHON

.PHONY: run test bench clean

run: $(VENV)/.installed
	@exec $(VENV)/bin/python -m restreamer.run_demo $(DEMO)

test: $(VENV)/.installed-dev
	@sh .ci/packages --optional ffmpeg postgresql
	@exec $(VENV)/bin/python .ci/check.py

bench: $(VENV)/.installed-bench
	@sh .ci/packages --optional ffmpeg nginx libnginx-mod-rtmp
	@$(VENV)/bin/python -m bench.peers
	@ulimit -n $$(ulimit -H -n); exec $(VENV)/bin/python -m bench.run $(BENCH)

$(VENV)/.installed: setup.cfg setup.py pyproject.toml .ci/venv
	@sh .ci/venv $(VENV)
	@echo "installing Restreamer into $(VENV)"
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "installing the development tools into $(VENV)"
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: 'atheris >= 3' \
	    || echo "no fuzzer for this Python: its tests are left out"
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: 'imageio-ffmpeg >= 0.6' \
	    || echo "no newer ffmpeg for this machine: the tests that need it are left out"
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check 'botocore >= 1.44' 'moto[server] >= 5' \
	    || echo "no object store for this machine: its tests are left out"
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: 'schemathesis >= 4.32' \
	    || echo "no schemathesis for this Python: the API is not compared with its document"
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]' \
	    || echo "no matplotlib for this machine: tables without plots"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info _trial_temp* .mypy_cache .ruff_cache .hypothesis .import_linter_cache .state
	find . -name __pycache__ -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache
