# kvfold_mpi_test(name TARGET program RANKS 1 2 3 [ARGS a b] [TIMEOUT 120] [EXIT_CODE 0]): CTest runs the program under mpirun
# once for each number of ranks, as name_mpi1, name_mpi2, ..., and expects mpirun to end with EXIT_CODE. Works as root in a
# container and with more ranks than cores, where ranks that wait must give up their core (mpi_yield_when_idle).
function(kvfold_mpi_test name)
  cmake_parse_arguments(ARG "" "TARGET;TIMEOUT;EXIT_CODE" "RANKS;ARGS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  if(NOT ARG_EXIT_CODE)
    set(ARG_EXIT_CODE 0)
  endif()
  foreach(n_ranks IN LISTS ARG_RANKS)
    set(test ${name}_mpi${n_ranks})
    add_test(NAME ${test}
             COMMAND sh -c "\"$@\"; code=$?; echo \"exit code $code\"; test $code -eq ${ARG_EXIT_CODE}" sh
                     ${MPIEXEC_EXECUTABLE} -n ${n_ranks} --oversubscribe --bind-to none
                     --mca mpi_yield_when_idle 1 $<TARGET_FILE:${ARG_TARGET}> ${ARG_ARGS})
    set_tests_properties(${test} PROPERTIES
      TIMEOUT ${ARG_TIMEOUT} PROCESSORS ${n_ranks}
      # Open MPI keeps memory to its end and synchronises in ways that the sanitizers cannot see.
      ENVIRONMENT "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;PRTE_ALLOW_RUN_AS_ROOT=1;PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1;ASAN_OPTIONS=detect_leaks=0;TSAN_OPTIONS=ignore_noninstrumented_modules=1")
  endforeach()
endfunction()
