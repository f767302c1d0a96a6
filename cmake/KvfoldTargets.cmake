# Warnings and sanitizers for all targets, and one function a kind of target.
# Designated initialisers leave members to their defaults on purpose.
set(kvfold_warnings -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wno-missing-field-initializers)
add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:${kvfold_warnings}>")
if(KVFOLD_SANITIZE)
  add_compile_options(
    "$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${KVFOLD_SANITIZE};-fno-omit-frame-pointer;-fno-sanitize-recover=all>")
  add_link_options(-fsanitize=${KVFOLD_SANITIZE})
endif()

include(KvfoldMpiTest)

# kvfold_library(comm SOURCES a.cc DEPENDS kvfold::x other): the library target of one room.
function(kvfold_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;PRIVATE_DEPENDS" ${ARGN})
  add_library(kvfold_${name} STATIC ${ARG_SOURCES})
  add_library(kvfold::${name} ALIAS kvfold_${name})
  target_include_directories(kvfold_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(kvfold_${name} PUBLIC ${ARG_DEPENDS} PRIVATE ${ARG_PRIVATE_DEPENDS})
endfunction()

# kvfold_test(shard SOURCES a_test.cc DEPENDS kvfold::shard [TIMEOUT 300] [LONG *Slow*/a *Slow*/b]): one test program
# of a room, which is one CTest entry. Where it takes more than 30 s, LONG names cases by GoogleTest's patterns: they
# run in an entry of their own, shard_long, with the label `long`, and the first entry runs all others. So each case
# runs in exactly one of the two (tests/scripts/long_cases_test.py).
function(kvfold_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPENDS;LONG" ${ARGN})
  add_executable(${name}_test ${ARG_SOURCES})
  target_link_libraries(${name}_test PRIVATE ${ARG_DEPENDS} GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name}_test PRIVATE
    KVFOLD_FIXTURES="${PROJECT_SOURCE_DIR}/tests/fixtures" KVFOLD_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
    if(KVFOLD_SANITIZE) # ThreadSanitizer makes loops over kernels twenty times slower
      set(ARG_TIMEOUT 1500)
    endif()
  endif()
  if(NOT ARG_LONG)
    add_test(NAME ${name} COMMAND ${name}_test)
    set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT})
    return()
  endif()
  list(JOIN ARG_LONG ":" long)
  add_test(NAME ${name} COMMAND ${name}_test --gtest_filter=-${long})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT})
  add_test(NAME ${name}_long COMMAND ${name}_test --gtest_filter=${long})
  math(EXPR long_timeout "4 * ${ARG_TIMEOUT}")
  set_tests_properties(${name}_long PROPERTIES TIMEOUT ${long_timeout} LABELS long)
  set_property(GLOBAL APPEND PROPERTY KVFOLD_LONG_CASES $<TARGET_FILE:${name}_test> ${long})
endfunction()
