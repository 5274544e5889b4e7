# Everything a person types. Needs Python 3.11 or newer; works with GNU make 3.81, and in a path with spaces.
# Packages go into .venv, and only when a lock file differs from the copy that was installed last.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test lint bench pictures lock clean port venv base dev clients

PY := .venv/bin/python
PIP_INSTALL := $(PY) -m pip install -qq --disable-pip-version-check --no-input
UV_COMPILE := $(PY) -m uv pip compile pyproject.toml -q --universal --python $(PY) --python-version 3.11 \
	--no-python-downloads --generate-hashes --no-emit-index-url --custom-compile-command "make lock"

help:
	@echo "make run    install what is missing, migrate, make the development people, serve on 127.0.0.1:8000 (PORT=8001 changes it)"
	@echo "make test   run the tests (ARGS='-k refresh' goes to pytest)"
	@echo "make lint   ruff, mypy, djlint and Django's own checks, also as in production"
	@echo "make bench  measure beside other servers, write docs/performance.md (ARGS=--full, ARGS=--help)"
	@echo "make pictures  take the pictures of the README anew; needs Chromium"
	@echo "make lock   write requirements/*.txt anew from pyproject.toml (ARGS=--upgrade takes newer versions)"
	@echo "make clean  remove what these made: .venv, node_modules, caches; the database stays"
	@echo "PYTHON=/path/to/python3 chooses the Python that .venv is made from."

# Settings derive PUBLIC_URL from PORT while DEBUG is on, so the URL a person copies is the one that is served.
run: port base
	@if ! [ -e .env ]; then \
	  printf '%s\n' '# Made by make run: this folder is for development. The real environment wins over this file.' \
	    'DEBUG=true' > .env || exit 1; \
	fi; \
	export PORT="$${PORT:-8000}"; \
	$(PY) manage.py migrate --verbosity 0 && \
	$(PY) manage.py create_development_people && \
	exec $(PY) manage.py runserver "$$PORT"

test: dev clients
	@$(PY) -m pytest $(ARGS)

lint: dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	DEBUG=true $(PY) -m mypy authapp mcpapp config
	$(PY) -m djlint templates --check
	$(PY) -m djlint templates --lint
	DEBUG=true $(PY) manage.py makemigrations --check --dry-run
	DEBUG=true $(PY) manage.py check --fail-level WARNING
	@echo "$(PY) manage.py check --deploy --fail-level WARNING  # as in production"
	@DEBUG=false PUBLIC_URL=https://star.example ALLOWED_HOSTS=star.example DATABASE_URL=sqlite:///deploy-check.sqlite3 \
	SECRET_KEY="$$($(PY) -c 'import secrets; print(secrets.token_urlsafe(64))')" \
	$(PY) manage.py check --deploy --fail-level WARNING

# On a machine that does nothing else. Node servers to compare with are installed into ~/.cache/star-bench.
bench: dev
	@$(PY) -m tests.bench $(ARGS)

pictures: dev
	@$(PY) -m tests.browser.pictures

lock: venv
	@$(PY) -m uv --version >/dev/null 2>&1 || $(PIP_INSTALL) uv
	$(UV_COMPILE) --extra server -o requirements/base.txt $(ARGS)
	$(UV_COMPILE) --all-extras --group dev --group clients -c requirements/base.txt -o requirements/dev.txt $(ARGS)

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis staticfiles tests/clients/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- what the targets above stand on ---

port:
	@case "$${PORT:-8000}" in \
	  *[!0-9]*|??????*) bad=1 ;; \
	  *) bad=0; [ "$${PORT:-8000}" -ge 1 ] && [ "$${PORT:-8000}" -le 65535 ] || bad=1 ;; \
	esac; \
	if [ "$$bad" = 1 ]; then echo "PORT must be a number from 1 to 65535, not '$$PORT'." >&2; exit 1; fi

# A .venv whose Python is gone, too old or without pip, or that was left half-made, is made anew.
venv:
	@if ! [ -w . ] || { [ -d .venv ] && ! [ -w .venv ]; }; then \
	  echo "This folder is not writable, and .venv and the database have to be made in it." >&2; exit 1; \
	fi; \
	if ! [ -e .venv/unfinished ] && \
	  $(PY) -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then exit 0; fi; \
	if [ -n "$$PYTHON" ]; then set -- "$$PYTHON"; else set -- python3.13 python3.12 python3.11 python3 python; fi; \
	python= found=; \
	for candidate; do \
	  "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	  found=$$candidate; \
	  if "$$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ] && [ -n "$$PYTHON" ]; then \
	  echo "PYTHON=$$PYTHON is not a Python 3.11 or newer." >&2; exit 1; \
	elif [ -z "$$found" ]; then \
	  echo "Python 3.11 or newer was not found: install it, or name it with PYTHON=/path/to/python3." >&2; exit 1; \
	elif [ -z "$$python" ]; then \
	  echo "$$found has no venv module: on Debian and Ubuntu, run 'apt install python3-venv'." >&2; exit 1; \
	fi; \
	rm -rf .venv && mkdir .venv && touch .venv/unfinished && "$$python" -m venv .venv && rm .venv/unfinished || { \
	  echo "Making .venv with $$python failed, see above." >&2; exit 1; \
	}

# dev.txt holds every line of base.txt at the same version, so installing dev installs base. The files name everything;
# --no-deps keeps an old pip from looking for more (23.2 refuses a pinned package that another one asks for with an extra).
base dev: venv
	@if cmp -s requirements/$@.txt .venv/installed-$@.txt; then exit 0; fi; \
	echo "Installing packages into .venv (once)…"; \
	touch .venv/unfinished; \
	if ! $(PIP_INSTALL) --require-hashes --no-deps -r requirements/$@.txt; then \
	  rm .venv/unfinished; \
	  echo "Installing requirements/$@.txt failed, see pip's lines above." >&2; exit 1; \
	fi; \
	cp requirements/base.txt .venv/installed-base.txt && cp requirements/$@.txt .venv/installed-$@.txt && \
	rm .venv/unfinished

clients:
	@lock=tests/clients/package-lock.json copy=tests/clients/node_modules/installed-lock.json; \
	if ! [ -f $$lock ] || cmp -s $$lock $$copy; then exit 0; fi; \
	if ! command -v npm >/dev/null 2>&1; then echo "npm was not found: the client tests need Node >= 20."; exit 0; fi; \
	echo "Installing the Node clients into tests/clients/node_modules (once)…"; \
	if ! (cd tests/clients && npm ci --ignore-scripts=false --no-fund --no-audit --loglevel=error >/dev/null); then \
	  echo "Installing the Node clients failed, see npm's lines above." >&2; exit 1; \
	fi; \
	cp $$lock $$copy
