# Everything comes from the system; nothing is downloaded at configure time. scripts/install_deps.sh installs it on Debian
# and Ubuntu.
find_package(Threads REQUIRED)
find_package(spdlog REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(ICU REQUIRED COMPONENTS uc)
find_package(ZLIB REQUIRED)
set(MPI_CXX_SKIP_MPICXX TRUE)  # the C API only
find_package(MPI REQUIRED COMPONENTS CXX)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(ZMQ REQUIRED IMPORTED_TARGET libzmq)  # with cppzmq's zmq.hpp beside its header
find_package(DNNL REQUIRED)
if(KVFOLD_TESTS)
  find_package(GTest REQUIRED)
endif()
