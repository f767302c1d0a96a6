# FindNCCL: NCCL_FOUND, NCCL_VERSION, NCCL_INCLUDE_DIR. NCCL ships no CMake package. Only its header is needed to build: the
# library is opened at run time. Looked for, in this order, in
#   NCCL_ROOT, NCCL_HOME            variable or environment, as modules of clusters set them
#   NCCL_INCLUDE_DIR                variable, as PyTorch names it
#   the CUDA toolkit, CUDA_HOME, the HPC SDK's comm_libs (NVHPC_ROOT), CPATH
#   the system (Debian's libnccl-dev)
#   pip's nvidia-nccl-cu* package   of the python3 on PATH
set(_nccl_roots ${NCCL_ROOT} $ENV{NCCL_ROOT} ${NCCL_HOME} $ENV{NCCL_HOME})
if(CUDAToolkit_FOUND)
  list(APPEND _nccl_roots ${CUDAToolkit_ROOT} ${CUDAToolkit_LIBRARY_ROOT} ${CUDAToolkit_BIN_DIR}/..)
endif()
list(APPEND _nccl_roots $ENV{CUDA_HOME} $ENV{CUDA_PATH})
if(DEFINED ENV{NVHPC_ROOT})
  list(APPEND _nccl_roots $ENV{NVHPC_ROOT}/comm_libs/nccl)
endif()
find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${_nccl_roots} ENV CPATH PATHS /usr/local/cuda PATH_SUFFIXES include)
if(NOT NCCL_INCLUDE_DIR)
  find_package(Python3 QUIET COMPONENTS Interpreter)
  if(Python3_Interpreter_FOUND)
    execute_process(COMMAND ${Python3_EXECUTABLE} -c
                            "import site, sysconfig; print(';'.join([sysconfig.get_path('purelib'), *site.getsitepackages()]))"
                    OUTPUT_VARIABLE _nccl_sites OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    find_path(NCCL_INCLUDE_DIR nccl.h PATHS ${_nccl_sites} PATH_SUFFIXES nvidia/nccl/include NO_DEFAULT_PATH)
  endif()
endif()
if(NCCL_INCLUDE_DIR AND EXISTS "${NCCL_INCLUDE_DIR}/nccl.h")
  foreach(_part MAJOR MINOR PATCH)
    file(STRINGS "${NCCL_INCLUDE_DIR}/nccl.h" _line REGEX "^#define NCCL_${_part} +[0-9]+")
    string(REGEX REPLACE ".* ([0-9]+).*" "\\1" _nccl_${_part} "${_line}")
  endforeach()
  set(NCCL_VERSION "${_nccl_MAJOR}.${_nccl_MINOR}.${_nccl_PATCH}")
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(NCCL REQUIRED_VARS NCCL_INCLUDE_DIR VERSION_VAR NCCL_VERSION)
mark_as_advanced(NCCL_INCLUDE_DIR)
