# `make demo` shows the main job; `make test` runs every kind of test. NAME is the cluster's name.
NAME ?= dev
cluster := tests/cluster/cluster.sh

.PHONY: help demo test test-all test-unit bench-secrets bench-backups bench-restores soak lint images cluster cluster-down update

help:
	@echo 'make demo          the main job from nothing, on a real cluster on this machine (DOWN=1 takes it down after)'
	@echo 'make test          every kind of test; ends with the counts'
	@echo 'make test-all      the same, with the long matrices in full'
	@echo 'make test-unit     what needs no cluster'
	@echo 'make bench-...     times: bench-secrets, bench-backups, bench-restores'
	@echo 'make soak          changes, faults and kills at random for 15 minutes (STRONGROOM_SOAK_MINUTES, STRONGROOM_SOAK_SEED)'
	@echo 'make lint          formats, lints, licences'
	@echo 'make cluster       start a one-machine Kubernetes (NAME=dev)'
	@echo 'make cluster-down  end it (NAME=dev)'
	@echo 'make images        build the images'
	@echo 'make update        regenerate crds/, the chart'"'"'s copies and docs/messages.md'

demo:
	@tests/demo/run $(if $(DOWN),--down)

test:
	@tests/run all

test-all:
	@STRONGROOM_FULL=1 tests/run all

test-unit:
	@tests/run unit

bench-secrets bench-backups bench-restores:
	@STRONGROOM_CLUSTER_NAME=bench tests/run bench $(@:bench-%=%)

soak:
	@STRONGROOM_CLUSTER_NAME=soak tests/run soak

lint:
	@tests/run lint

images:
	@tests/images

cluster:
	@$(cluster) up --name $(NAME)

cluster-down:
	@$(cluster) down --name $(NAME)

update:
	UPDATE=1 cargo test --quiet --test crds --test docs
