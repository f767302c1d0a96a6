# KVFOLD_CUDA=AUTO|ON|OFF: whether to build the CUDA side (device, kernels, NCCL). AUTO builds it where nvcc, CUDA 12.4 or
# later, cuBLASLt's and NCCL's headers are found and no sanitizer is asked for; ON fails with what is missing.
#
# Only the runtime is linked, statically. Neither libcuda (a program that needs it would not start without a driver) nor
# cuBLASLt and NCCL are: they are opened when a GPU is used (comm/device/cuda/cuda_library.h).
#
# Sets KVFOLD_HAVE_CUDA and, where it is on, makes
#   kvfold::cuda_flags                               what every target with CUDA sources is linked with
#   kvfold_sm90a_sources(kvfold_kernels x.cu y.cu)   sources that use sm_90a's own instructions, built for it alone
set(KVFOLD_CUDA AUTO CACHE STRING "Build the CUDA side: AUTO, ON or OFF")
set_property(CACHE KVFOLD_CUDA PROPERTY STRINGS AUTO ON OFF)
# A100; L4, L40S, RTX 4090; H100, H200; PTX from which the driver makes code for everything later.
set(KVFOLD_CUDA_ARCHITECTURES "80-real;89-real;90a-real;90-virtual" CACHE STRING "As CMAKE_CUDA_ARCHITECTURES")
if(NOT KVFOLD_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "KVFOLD_CUDA is ${KVFOLD_CUDA}, expected AUTO, ON or OFF")
endif()

set(KVFOLD_HAVE_CUDA OFF)
set(kvfold_cuda_missing "")
if(KVFOLD_CUDA STREQUAL "AUTO" AND KVFOLD_SANITIZE)
  set(kvfold_cuda_missing "not sought in a sanitizer's build")
elseif(KVFOLD_CUDA)
  include(CheckLanguage)
  check_language(CUDA)  # does not fail where there is no compiler
  if(CMAKE_CUDA_COMPILER)
    # A change of KVFOLD_CUDA_ARCHITECTURES counts, also in a build folder that was configured before.
    set(CMAKE_CUDA_ARCHITECTURES "${KVFOLD_CUDA_ARCHITECTURES}")
    set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
    enable_language(CUDA)
    if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that nvcc 12 takes it
      set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
      set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
    endif()
    set(CMAKE_CUDA_STANDARD 20)  # after enable_language, whose own test of the compiler fails with it
    set(CMAKE_CUDA_STANDARD_REQUIRED ON)
    find_package(CUDAToolkit 12.4 QUIET)
    find_package(NCCL 2.18 QUIET)
    find_path(CUBLASLT_INCLUDE_DIR cublasLt.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
    mark_as_advanced(CUBLASLT_INCLUDE_DIR)
    if(NOT CUDAToolkit_FOUND)
      set(kvfold_cuda_missing "a CUDA toolkit of 12.4 or later (CUDAToolkit_ROOT names its folder)")
    elseif(NOT CUBLASLT_INCLUDE_DIR)
      set(kvfold_cuda_missing "cublasLt.h")
    elseif(NOT NCCL_FOUND)
      set(kvfold_cuda_missing "NCCL 2.18 or later (NCCL_HOME names its folder)")
    else()
      set(KVFOLD_HAVE_CUDA ON)
    endif()
  else()
    set(kvfold_cuda_missing "nvcc (CUDACXX names it)")
  endif()
  if(KVFOLD_CUDA STREQUAL "ON" AND NOT KVFOLD_HAVE_CUDA)
    message(FATAL_ERROR "KVFOLD_CUDA=ON, but this is missing: ${kvfold_cuda_missing}")
  endif()
else()
  set(kvfold_cuda_missing "turned off")
endif()

if(NOT KVFOLD_HAVE_CUDA)
  message(STATUS "CUDA: no (${kvfold_cuda_missing})")
  return()
endif()
message(STATUS "CUDA: ${CUDAToolkit_VERSION} for ${CMAKE_CUDA_ARCHITECTURES}, headers of NCCL ${NCCL_VERSION}")

add_library(kvfold_cuda_flags INTERFACE)
add_library(kvfold::cuda_flags ALIAS kvfold_cuda_flags)
target_link_libraries(kvfold_cuda_flags INTERFACE CUDA::cudart_static)
target_include_directories(kvfold_cuda_flags SYSTEM INTERFACE ${CUBLASLT_INCLUDE_DIR})
# -lineinfo costs nothing at run time and names the line in profilers and sanitizers.
target_compile_options(kvfold_cuda_flags INTERFACE
  "$<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr;--extended-lambda;-lineinfo;-Xcompiler=-Wall,-Wextra,-Wno-missing-field-initializers>")

# CMake has architectures by target, not by source file: the sources get an object library of their own, which sees what
# `target` sees.
function(kvfold_sm90a_sources target)
  add_library(${target}_sm90a OBJECT ${ARGN})
  set_target_properties(${target}_sm90a PROPERTIES CUDA_ARCHITECTURES "90a-real")
  target_link_libraries(${target}_sm90a PRIVATE $<TARGET_PROPERTY:${target},LINK_LIBRARIES>)
  target_include_directories(${target}_sm90a PRIVATE ${PROJECT_SOURCE_DIR})
  target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_sm90a>)
endfunction()
