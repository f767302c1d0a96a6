# scripts/lib/local_mpi.sh, to be sourced: Open MPI on one shared machine, as root in a container, with more ranks than
# cores. Not for a cluster, where binding and busy waiting are what one wants (docs/cluster.md).
# shellcheck shell=bash

# Open MPI refuses to start as root without these (4.1 reads the first two, 5.0 the others).
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export PRTE_ALLOW_RUN_AS_ROOT=1 PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1
# Two ranks or fewer would each be bound to one core, all its threads with it; and ranks that wait without yielding take the
# cores from those that compute.
# shellcheck disable=SC2034  # for those who source this
mpirun_local=(mpirun --oversubscribe --bind-to none --mca mpi_yield_when_idle 1)
