# The user's front door. `make help` prints every target.
SHELL := /bin/bash
PY := .venv/bin/python
HYPERDERM := .venv/bin/hyperderm
STAMP := .venv/.installed
# Every Ray worker imports torch: compiled once, not at each start, also where the environment forbids bytecode.
unexport PYTHONDONTWRITEBYTECODE

# What a user may give: DATA=folder or STORE=uri, NAME=, ENDMEMBERS=, METHOD=, CUBE=file, K=, WEIGHT=, MASKS=1, LATENT=, STEPS=, OUT=, TRIALS=, REPEAT=, PROFILE=, WORKERS=, SPACE=, RUNS=folder, STORAGE=uri, SET="a.b=c d.e=f"
FLAGS = $(if $(RUNS),--runs "$(RUNS)") $(if $(STORAGE),--storage "$(STORAGE)") $(if $(DATA),--data "$(DATA)") $(if $(STORE),--store "$(STORE)") $(if $(NAME),--name "$(NAME)") \
	$(if $(PROFILE),--profile $(PROFILE)) $(foreach s,$(SET),--set '$(s)')

.DEFAULT_GOAL := help
.PHONY: help setup doctor ablation describe evaluate register lock check format test test-slow unmix segment denoise bench bench-audit bench-cold bench-data bench-generators bench-many bench-metrics bench-pages bench-streaming bench-statistics picture ui services-up services-down clean

help: ## print this list
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F'\t' '{printf "  make %-14s %s\n", $$1, $$2}'
	@echo '  options: DATA=folder STORE=uri NAME=name TRIALS=n REPEAT=n WORKERS=n PROFILE=small|full SPACE=name RUNS=folder STORAGE=uri SET="path=value …"'

setup: $(STAMP) ## create .venv from requirements.lock

$(STAMP): requirements.lock pyproject.toml
	python3 -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check uv
	$(PY) -m uv pip sync --quiet --python $(PY) --require-hashes requirements.lock
	$(PY) -m uv pip install --quiet --python $(PY) --no-deps --no-build-isolation --editable .
	@touch $@

sweep-%: $(STAMP) ## search the hyperparameters of an experiment, e.g. make sweep-shsgan DATA=/path/to/HSIDermoscopy
	$(HYPERDERM) sweep $* $(FLAGS) $(if $(TRIALS),--trials $(TRIALS)) $(if $(REPEAT),--repeat $(REPEAT)) \
		$(if $(WORKERS),--workers-per-trial $(WORKERS)) \
		$(if $(SPACE),--space $(SPACE))

train-%: $(STAMP) ## one run of an experiment, e.g. make train-shsgan WORKERS=2
	$(HYPERDERM) train $* $(FLAGS) $(if $(WORKERS),--workers $(WORKERS))

doctor: $(STAMP) ## what would a start refuse? this machine, its servers, and with CLUSTER=1 every node of RAY_ADDRESS; STORE= STORAGE= RUNS= JSON=1
	$(HYPERDERM) doctor $(if $(CLUSTER),--cluster) $(if $(STORE),--store "$(STORE)") $(if $(STORAGE),--storage "$(STORAGE)") \
		$(if $(RUNS),--runs "$(RUNS)") $(if $(JSON),--json)

ablation: $(STAMP) ## does synthetic data help? e.g. make ablation DATA=…; PLAN=1 PILOT=grid | POWER=.03 | AT=22:00 UNTIL=07:00 DETACH=1 | STATUS=1 | STOP=1
	$(HYPERDERM) ablation $(or $(GRID),synthetic_vs_real) $(FLAGS) $(if $(WORKERS),--set resources.workers=$(WORKERS)) $(if $(PLAN),--plan) $(if $(AT),--at $(AT)) \
		$(if $(UNTIL),--until $(UNTIL)) $(if $(DETACH),--detach) $(if $(STATUS),--status) $(if $(STOP),--stop) \
		$(if $(POWER),--power $(POWER)) $(if $(PILOT),--pilot "$(PILOT)")

evaluate: $(STAMP) ## how good are synthetic cubes? those of the last sweep, of RUN=name, or STORE=real SYNTHETIC="uri …"; COUNT= OUT= FINAL=1
	$(HYPERDERM) evaluate $(if $(SYNTHETIC),$(foreach s,$(SYNTHETIC),--synthetic "$(s)"),--run "$(or $(RUN),last)") $(if $(STORE),--real "$(STORE)") \
		$(if $(COUNT),--count $(COUNT)) $(if $(FOLD),--fold $(FOLD)) $(if $(FINAL),--final) $(if $(OUT),--out "$(OUT)") $(if $(RUNS),--runs "$(RUNS)")

register: $(STAMP) ## RUN=name (a run, a sweep's best trial, sweep/3) as a version of model NAME= in MLflow's registry; ALIAS=champion
	$(HYPERDERM) register "$(RUN)" --name "$(NAME)" $(if $(ALIAS),--alias "$(ALIAS)") $(if $(STORE),--source-store "$(STORE)") $(if $(RUNS),--runs "$(RUNS)")

describe: $(STAMP) ## what does a store hold? one HTML page of STORE=uri or DATA=folder, or of the phantom; OUT=
	$(HYPERDERM) describe $(if $(STORE),"$(STORE)") $(if $(DATA),--data "$(DATA)") $(if $(OUT),--out "$(OUT)") $(if $(RUNS),--runs "$(RUNS)")

unmix: $(STAMP) ## what are the pixels of STORE=uri (or of the phantom) mixed of? endmembers and abundance maps; ENDMEMBERS=5|auto METHOD= OUT=
	$(HYPERDERM) unmix $(if $(STORE),"$(STORE)") $(if $(DATA),--data "$(DATA)") $(if $(ENDMEMBERS),--endmembers $(ENDMEMBERS)) \
		$(if $(METHOD),--method $(METHOD)) $(if $(OUT),--out "$(OUT)") $(if $(RUNS),--runs "$(RUNS)")

PIXELS = $(if $(or $(CUBE),$(STORE)),"$(or $(CUBE),$(STORE))") $(if $(DATA),--data "$(DATA)") $(if $(RUN),--run "$(RUN)") $(if $(LATENT),--latent $(LATENT)) \
	$(if $(STEPS),--steps $(STEPS)) $(if $(OUT),--out "$(OUT)") $(if $(RUNS),--runs "$(RUNS)")

segment: $(STAMP) ## clusters of the pixels of CUBE=file or STORE=uri (or of the phantom) in an autoencoder's latent space; K=3 WEIGHT=0.5 MASKS=1 RUN= OUT=
	$(HYPERDERM) segment $(PIXELS) $(if $(K),--clusters $(K)) $(if $(WEIGHT),--weight $(WEIGHT)) $(if $(MASKS),--as-masks)

denoise: $(STAMP) ## CUBE=file or STORE=uri (or the phantom) rebuilt without noise by an autoencoder, beside two classical ways; RUN= OUT=
	$(HYPERDERM) denoise $(PIXELS)

ui: $(STAMP) ## the MLflow UI on what was run here; a sweep's study opens in optuna-dashboard: it says how
	@for study in "$(or $(RUNS),runs)"/*/study.db; do [ ! -e "$$study" ] || \
		echo ".venv/bin/optuna-dashboard \"sqlite:///$$study\" --port 8080   # the search of $$(basename "$$(dirname "$$study")")"; done
	@echo 'http://127.0.0.1:$(or $(PORT),5000)/#/experiments   # a first visit shows pages of language models: choose Model training'
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false .venv/bin/mlflow ui --backend-store-uri "$(or $(MLFLOW_TRACKING_URI),sqlite:///mlflow.db)" --workers 1 --port $(or $(PORT),5000)

services-up: $(STAMP) ## start S3, PostgreSQL and an MLflow server here, and print what to export
	@$(PY) -m infra.services up

services-down: $(STAMP) ## stop exactly those; their data stay in services/
	@$(PY) -m infra.services down

check: $(STAMP) ## lint, types, layout
	.venv/bin/ruff format --check platform experiments search_spaces tests infra
	.venv/bin/ruff check platform experiments search_spaces tests infra
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(PY) -m tests.layout

format: $(STAMP) ## format the code
	.venv/bin/ruff format platform experiments search_spaces tests infra
	.venv/bin/ruff check --fix platform experiments search_spaces tests infra

test: $(STAMP) ## the tests, in minutes; JOBS=1 for one process
	OMP_NUM_THREADS=1 .venv/bin/pytest -m "not slow" --durations 10 -n $(or $(JOBS),2) --dist loadscope --no-loadscope-reorder

test-slow: $(STAMP) ## the tests that train
	.venv/bin/pytest -m slow --durations 10

bench-statistics: $(STAMP) ## simulate studies with known answers: how often the intervals of the ablation hold them
	$(PY) -m tests.bench.coverage

bench-audit: $(STAMP) ## power and false alarms of the memorisation audit on the phantom; QUICK=1 for small sets
	$(PY) -m tests.bench.audit $(if $(QUICK),--quick)

bench-many: $(STAMP) ## a sweep of 1000 trials of a second, two at a time, against the trials alone, MLflow's delivery included; TRIALS= SECONDS= SERVER=1
	$(PY) -m tests.bench.many_trials $(if $(TRIALS),--trials $(TRIALS)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SERVER),--server)

bench-metrics: $(STAMP) ## cost of an evaluation's metrics: time, memory, and against torchmetrics (a quarter of an hour); QUICK=1 for small sets
	$(PY) -m tests.bench.metrics $(if $(QUICK),--quick)

bench-pages: $(STAMP) ## how soon MLflow's pages show a sweep of 1000 trials in a browser (CONTRIBUTING says how to get one); TRIALS=
	$(PY) -m tests.bench.pages $(if $(TRIALS),--trials $(TRIALS))

bench: $(STAMP) ## ratios from one run: cost of a trial, of an epoch, and of a sweep beside its bare loops (of 1000 trials: bench-many)
	$(PY) -m tests.bench.trial_cost
	$(PY) -m tests.bench.feed
	$(PY) -m tests.bench.sweep_wall

bench-cold: $(STAMP) ## time installation and the default sweep in a fresh clone, with the memory of the whole process tree
	$(PY) -m tests.bench.cold

bench-data: $(STAMP) ## ratios of the data side: feed, reading, ingest (10 minutes, 7 GB of /tmp); QUICK=1 goes through it in one
	$(PY) -m tests.bench.data $(if $(QUICK),--quick)

bench-generators: $(STAMP) ## a step of FastGAN, samplers, two workers; with STORE=folder also how good each generator is (hours); QUICK=1
	$(PY) -m tests.bench.generators $(if $(QUICK),--quick) $(if $(STORE),--store "$(STORE)")

bench-streaming: $(STAMP) ## our readers against Ray Data from an S3 server (8 GB of cubes, or a third of the free disk); QUICK=1 for little data
	$(PY) -m tests.bench.streaming $(if $(QUICK),--quick)

picture: $(STAMP) ## draw the README's pictures: from the default sweep, or with FOREST=runs/<grid> the forest plot of a grid
	$(if $(FOREST),cp "$(FOREST)/report/forest.png" infra/forest.png,$(PY) -m tests.readme_picture)

lock: $(STAMP) ## resolve requirements.lock anew from pyproject.toml
	$(PY) -m uv pip compile --quiet --upgrade --generate-hashes --no-header --no-annotate --python-version 3.11 --extra dev \
		--extra weights --override infra/lock-overrides.txt --no-emit-index-url pyproject.toml --output-file requirements.lock
	$(PY) -m uv pip compile --quiet --upgrade --generate-hashes --no-header --no-annotate --python-version 3.11 --extra cluster \
		--constraint requirements.lock $$(sed -nE 's/^([A-Za-z0-9._-]+)==.*/--no-emit-package \1/p' requirements.lock) \
		--no-emit-index-url pyproject.toml --output-file infra/cluster.lock

clean: ## remove what runs left behind: runs/ stores/ mlflow.db mlartifacts/
	rm -rf runs stores mlartifacts mlflow.db
