// MappedFile without files: linked in place of models/checkpoint/mapped_file.cc, whose names these
// are.
#include <stdlib.h>

#include <cstring>
#include <fstream>
#include <stdexcept>

#include "models/checkpoint/mapped_file.h"
#include "tests/fuzz/fuzz_target.h"

namespace kvfold {
namespace {

const uint8_t* mapped_data = nullptr;
size_t mapped_size_bytes = 0;

}  // namespace

namespace fuzz {

void SetMappedBytes(const uint8_t* data, size_t size_bytes) {
  mapped_data = data;
  mapped_size_bytes = size_bytes;
}

MarkedFolder::MarkedFolder(std::initializer_list<std::string_view> names) {
  std::string name = (std::filesystem::temp_directory_path() / "kvfold_fuzz_XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed: " + name);
  path_ = name;
  for (const std::string_view file : names) std::ofstream(path_ / file).flush();
}

MarkedFolder::~MarkedFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace fuzz

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path.string()) {
  if (mapped_size_bytes == 0) return;
  data_ = new uint8_t[mapped_size_bytes];  // a copy of just this size
  size_bytes_ = mapped_size_bytes;
  std::memcpy(data_, mapped_data, mapped_size_bytes);
}

void MappedFile::Unmap() noexcept { delete[] data_; }

void MappedFile::DropResidentPages() const {}

}  // namespace kvfold
