# `make` prints the targets. Everything is installed into .venv from the versions locked in constraints.txt.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# Without compiled bytecode every fresh process compiles its imports again.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)
export VIRTUAL_ENV := $(CURDIR)/.venv
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := 1
export AIRFLOW__USAGE_DATA_COLLECTION__ENABLED := False

.PHONY: trials help install java demo airflow test quick faults fuzz clusters bench bench-drift bench-quick lint lock clean

help:  ## print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | column -t -s "$$(printf '\t')"

.venv/.installed: constraints.txt setup.cfg pyproject.toml
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' constraints.txt)"
	.venv/bin/uv pip install --quiet --compile-bytecode --constraint constraints.txt --editable '.[dev]'
	@touch $@

install: .venv/.installed  ## make .venv with everything in it

java:  ## get a Java 17 runtime where there is none
	@bash .ci/java

demo: install java  ## score two weeks of real flights on Spark, from nothing
	@source .ci/java-env; bash .ci/demo

airflow: install java  ## Airflow on this project: http://127.0.0.1:8080 (PORT=...; SQLITE=1 instead of PostgreSQL)
	@test -d data/flights -a -f mlflow.db || dvc repro
	@source .ci/java-env; exec python -m batchdeploy.airflow.devserver dags --home .airflow \
		--port $(or $(PORT),8080) $(if $(SQLITE),--sqlite)

test: install java  ## lint, types, import contracts, all tests but the trials
	@$(MAKE) --no-print-directory lint
	source .ci/java-env; pytest -m "not trial" --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 40

quick: install  ## the tests that need neither Java nor Airflow, in under a minute
	pytest -m "not jvm and not airflow and not slow" --numprocesses 2 --dist loadfile

trials: install java  ## the tests that kill Spark again and again, or score weeks of flights (half an hour)
	@source .ci/java-env; pytest -m trial

faults: install java  ## every fault, thousands of trials (hours); writes tests/faults/results.json
	@source .ci/java-env; cd tests && python -m faults $(FAULTS)

fuzz: install  ## a hundred thousand hostile inputs (half an hour); writes tests/fuzz/results.json
	cd tests && python -m fuzz $(FUZZ)

clusters: install java  ## Spark's tests on a standalone cluster and on a Connect server (minutes)
	@source .ci/java-env; pytest tests/test_clusters.py tests/test_separate_machines.py
	@source .ci/java-env; for kind in standalone connect; do for read in splits spark; do \
		pytest tests/test_engines.py -k spark --spark $$kind --read $$read; done; done

bench: install java  ## speed against what you would pick instead (an hour); writes benchmarks/results/
	uv pip install --quiet --constraint constraints.txt --editable '.[bench]'
	@source .ci/java-env; python benchmarks/speed.py && python benchmarks/speed.py A --name reads \
		--only spark_udf --only batchdeploy --only "batchdeploy, Spark reads" --only "batchdeploy, from S3" && python benchmarks/days.py && python benchmarks/parse.py

bench-quick: install java  ## the same with a twentieth of the rows, once (minutes); writes nothing
	@source .ci/java-env; python benchmarks/speed.py --scale 0.05 --rounds 1 --home benchmarks/.data/quick --results benchmarks/.data/quick

bench-drift: install  ## false alarms and faults found by the drift verdict (hours); writes benchmarks/results/drift.json
	python benchmarks/drift.py $(DRIFT)

lint: install
	ruff check .
	ruff format --check .
	mypy
	lint-imports --config setup.cfg

lock: install  ## resolve constraints.txt anew
	uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url \
		--extra dev --extra bench setup.cfg --output-file constraints.txt

clean:  ## remove what the demo and the tests made; keeps .venv
	rm -rf data scores .airflow mlflow.db mlartifacts dvc_plots .dvc/cache .dvc/tmp .pytest_cache .mypy_cache .ruff_cache
