# python3 (3.11 or newer) and make are enough; whatever else is needed goes into .venv.
#
#   make demo         train, analyse and compress a small network into demo/
#   make test         lint, then the test suite
#   make lint         style, types and import contracts
#   make wheel-test   install the wheel in an environment of its own, and try it there
#   make docs         the documentation as a site, in build/docs/
#   make bench        the benchmarks
#   make gpu-check    compare a GPU with the CPU, in at most five minutes; the results into docs/gpu.md
#   make suites       hours of kills, damaged files and attacks; its totals into docs/reliability.md
#   make audit        ask whether the pinned versions have known weaknesses (needs the network)
#   make sbom         list what is installed with frivkit, as CycloneDX, in build/sbom.json
#   make install      reinstall, e.g. after a change of entry points
#   make clean        remove everything that make made

PYTHON ?= python3
WORKERS ?= 2
PIP := -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: demo test lint wheel-test docs bench gpu-check suites audit sbom install clean
.DELETE_ON_ERROR:

demo: .venv/installed
	.venv/bin/frivkit demo -o demo

test: lint
	.venv/bin/python -m pytest -n $(WORKERS) --ignore=tests/wheel

lint: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

# What the modules do was tried on the checkout; this tries what only an installed wheel can lack.
# Its environment has the wheel and what that requires, and none of the tools that the tests need.
wheel-test: .venv/installed .venv-wheel/installed
	rm -rf build/wheel
	.venv/bin/python -m build --wheel --no-isolation --outdir build/wheel
	.venv-wheel/bin/python -m pip uninstall --quiet --yes frivkit
	.venv-wheel/bin/python $(PIP) build/wheel/frivkit-*.whl
	FRIVKIT_WHEEL_ENVIRONMENT=.venv-wheel .venv/bin/python -m pytest tests/wheel

docs: .venv/installed
	.venv/bin/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs

bench: .venv/installed
	.venv/bin/python $(PIP) --group bench
	.venv/bin/python -m benchmarks

gpu-check: .venv/installed
	.venv/bin/python -m benchmarks.gpu

suites: .venv/installed
	for suite in kills concurrency starvation attacks fuzz; do \
	    nice .venv/bin/python -m reliability $$suite --store -o /dev/null || true; done

# The tools have an environment of their own, so that they are not among what they look at.
audit: .venv-audit/installed
	@mkdir -p build
	@.venv-audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict \
	    --progress-spinner off > build/audit.txt 2>&1; code=$$?; \
	if grep -q "known vulnerabilit" build/audit.txt; then cat build/audit.txt; \
	else echo "not audited: $$(tail -n 1 build/audit.txt)" >&2; fi; exit $$code

sbom: .venv-audit/installed .venv-wheel/installed
	mkdir -p build
	.venv-wheel/bin/python $(PIP) hatchling
	.venv-wheel/bin/python $(PIP) --no-build-isolation .
	.venv-audit/bin/cyclonedx-py environment .venv-wheel/bin/python --output-reproducible \
	    --pyproject pyproject.toml --output-file build/sbom.json

install:
	rm -f .venv/installed
	$(MAKE) .venv/installed

clean:
	rm -rf .venv .venv-wheel .venv-audit build dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# The build backend is installed first and used without isolation: pip would otherwise fetch a
# second one, unpinned, at each build.
.venv/installed: pyproject.toml constraints.txt
	@echo "installing frivkit and its tools into .venv (some minutes the first time)"
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) pip hatchling
	.venv/bin/python $(PIP) --no-build-isolation --editable . --group dev
	@touch $@

.venv-wheel/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv-wheel
	.venv-wheel/bin/python $(PIP) pip
	@touch $@

.venv-audit/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv-audit
	.venv-audit/bin/python $(PIP) pip
	.venv-audit/bin/python $(PIP) --group audit
	@touch $@
