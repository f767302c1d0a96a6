// comm/device/cuda/cuda_library.h: CUDA's large libraries, opened when a GPU is used and not
// before: linked in, they cost every start of the program a second.
//
// Each is found as the dynamic loader finds it (LD_LIBRARY_PATH, the system), in the folder of the
// toolkit that this program was built with, in /usr/local/cuda, or in pip's nvidia-* packages
// beside a python3 on PATH. A library is a table of its functions under their own names; the types
// are its headers'.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace kvfold {

// A shared library that stays open to the process's end: GPU libraries have threads and atexit
// handlers of their own.
class CudaLibrary {
 public:
  // Throws DeviceError ("cuBLASLt (libcublasLt.so.13) was not found: ...") naming where it was
  // sought.
  CudaLibrary(std::string name, const std::string& file);

  // Throws DeviceError where the library lacks the function.
  template <typename Function>
  void Bind(Function*& function, const char* symbol) const {
    function = reinterpret_cast<Function*>(Symbol(symbol));
  }
  const std::string& path() const { return path_; }  // of the file that was opened

 private:
  void* Symbol(const char* symbol) const;

  std::string name_;
  std::string path_;
  void* handle_ = nullptr;
};

// Folders of pip's nvidia-* packages and of CUDA installations, where `file` may lie, in the order
// in which they are tried after the dynamic loader's own.
std::vector<std::string> CudaLibraryFolders();

}  // namespace kvfold
