// Reads the head of a GGUF file into a GgufFile. Nothing here trusts a number of the file: a count
// is believed only as far as the bytes that are left could hold that many elements.
#include <algorithm>
#include <cstring>
#include <limits>

#include "comm/base/rounding.h"
#include "comm/error.h"
#include "models/checkpoint/file_kind.h"
#include "models/checkpoint/ggml_type.h"
#include "models/checkpoint/gguf_file.h"
#include "models/quoted.h"

namespace kvfold {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF" read as a little-endian number
constexpr int kMostDims = 4;
constexpr int kMostArrayDepth = 4;
// Least bytes of one entry: a key of no length, a type and a one-byte value; a name of no length,
// no dims, type and offset.
constexpr uint64_t kLeastEntryBytes = 8 + 4 + 1;
constexpr uint64_t kLeastTensorBytes = 8 + 4 + 4 + 8;
constexpr uint64_t kMostAlignmentBytes = uint64_t{1} << 20;

}  // namespace

// Walks the mapped file from the front. `what` says in an error message what was being read.
class GgufFile::Cursor {
 public:
  explicit Cursor(const MappedFile& file) : file_(file) {}

  uint64_t offset() const { return offset_; }
  uint64_t left() const { return file_.size_bytes() - offset_; }

  const uint8_t* Take(uint64_t bytes, std::string_view what) {
    if (bytes > left()) {
      throw InputError(fmt::format("{}: {} at byte {} needs {} bytes, but the file ends after {}",
                                   file_.path(), what, offset_, bytes, left()));
    }
    const uint8_t* const taken = file_.data() + offset_;
    offset_ += bytes;
    return taken;
  }

  template <typename T>
  T Number(std::string_view what) {
    T value;
    std::memcpy(&value, Take(sizeof(T), what), sizeof(T));
    return value;
  }

  std::string_view String(std::string_view what) {
    const auto bytes = Number<uint64_t>(what);
    return {reinterpret_cast<const char*>(Take(bytes, what)), bytes};
  }

  // A count of things that take at least `least_bytes` each in what is left.
  void CheckCount(uint64_t count, uint64_t least_bytes, std::string_view what) const {
    if (count > left() / least_bytes) {
      throw InputError(fmt::format("{}: {} says {} elements at byte {}, but only {} bytes are left",
                                   file_.path(), what, count, offset_, left()));
    }
  }

  GgufType Type(std::string_view what) {
    const auto raw = Number<uint32_t>(what);
    if (raw > static_cast<uint32_t>(GgufType::kFloat64)) {
      throw InputError(
          fmt::format("{}: {} has value type {}, expected 0 to 12", file_.path(), what, raw));
    }
    return static_cast<GgufType>(raw);
  }

  GgufValue Value(GgufType type, std::string_view what) {
    if (type == GgufType::kString) return {type, String(what)};
    if (type == GgufType::kArray) return {type, Array(what, /*depth=*/1)};
    return ReadGgufNumber(type, Take(GgufTypeBytes(type), what));
  }

 private:
  GgufArray Array(std::string_view what, int depth) {
    GgufArray array;
    array.element_type = Type(what);
    array.count = Number<uint64_t>(what);
    if (array.element_type == GgufType::kString) {
      CheckCount(array.count, sizeof(uint64_t), what);
      array.strings.reserve(array.count);
      for (uint64_t i = 0; i < array.count; ++i) array.strings.push_back(String(what));
    } else if (array.element_type == GgufType::kArray) {
      if (depth == kMostArrayDepth) {
        throw InputError(fmt::format("{}: {} nests arrays more than {} deep", file_.path(), what,
                                     kMostArrayDepth));
      }
      CheckCount(array.count, sizeof(uint32_t) + sizeof(uint64_t), what);
      for (uint64_t i = 0; i < array.count; ++i) array.arrays.push_back(Array(what, depth + 1));
    } else {
      const auto element_bytes = static_cast<uint64_t>(GgufTypeBytes(array.element_type));
      CheckCount(array.count, element_bytes, what);
      array.numbers = {Take(array.count * element_bytes, what), array.count * element_bytes};
    }
    return array;
  }

  const MappedFile& file_;
  uint64_t offset_ = 0;
};

GgufFile::GgufFile(const std::filesystem::path& path) : file_(path) {
  RefuseOtherKinds(file_.path(), file_.bytes(), FileKind::kGguf, "a GGUF file");
  Cursor cursor(file_);
  if (cursor.left() < 4 || cursor.Number<uint32_t>("the magic number") != kMagic) {
    throw InputError(
        fmt::format("{}: not a GGUF file: it does not begin with \"GGUF\"", file_.path()));
  }
  version_ = cursor.Number<uint32_t>("the version");
  if (version_ != 0 && (version_ & 0xFFFF) == 0) {
    throw InputError(
        fmt::format("{}: a big-endian GGUF file, expected little-endian", file_.path()));
  }
  if (version_ != 2 && version_ != 3) {
    throw InputError(fmt::format("{}: GGUF version {}, expected 2 or 3", file_.path(), version_));
  }
  const auto n_tensors = cursor.Number<uint64_t>("the tensor count");
  const auto n_values = cursor.Number<uint64_t>("the metadata count");
  ReadMetadata(cursor, n_values);
  ReadTensors(cursor, n_tensors);
  head_bytes_ = cursor.offset();
  CheckExtents();
}

void GgufFile::ReadMetadata(Cursor& cursor, uint64_t count) {
  cursor.CheckCount(count, kLeastEntryBytes, "the metadata count");
  for (uint64_t i = 0; i < count; ++i) {
    const std::string_view key = cursor.String("a metadata key");
    const std::string what = fmt::format("metadata key {}", Quoted(key));
    const GgufType type = cursor.Type(what);
    if (!values_.emplace(key, cursor.Value(type, what)).second) {
      throw InputError(fmt::format("{}: {} appears twice", path(), what));
    }
  }
  if (Has("general.alignment")) {
    const int64_t alignment = Int("general.alignment");
    if (alignment <= 0 || alignment > static_cast<int64_t>(kMostAlignmentBytes) ||
        (alignment & (alignment - 1)) != 0) {
      throw InputError(fmt::format("{}: general.alignment is {}, expected a power of two up to {}",
                                   path(), alignment, kMostAlignmentBytes));
    }
    alignment_bytes_ = static_cast<uint64_t>(alignment);
  }
}

void GgufFile::ReadTensors(Cursor& cursor, uint64_t count) {
  cursor.CheckCount(count, kLeastTensorBytes, "the tensor count");
  for (uint64_t i = 0; i < count; ++i) {
    GgufTensor tensor;
    tensor.name = cursor.String("a tensor name");
    const std::string what = fmt::format("tensor {}", Quoted(tensor.name));
    const auto n_dims = cursor.Number<uint32_t>(what);
    if (n_dims > kMostDims) {
      throw InputError(fmt::format("{}: {} has {} dimensions, expected at most {}", path(), what,
                                   n_dims, kMostDims));
    }
    int64_t n_elements = 1;
    for (uint32_t d = 0; d < n_dims; ++d) {
      const auto dim = cursor.Number<int64_t>(what);
      if (dim < 0 || __builtin_mul_overflow(n_elements, dim, &n_elements)) {
        throw InputError(fmt::format("{}: {} has dimension {} out of range: {}", path(), what, d,
                                     static_cast<uint64_t>(dim)));
      }
      tensor.dims.push_back(dim);
    }
    tensor.type = cursor.Number<uint32_t>(what);
    tensor.offset_bytes =
        cursor.Number<uint64_t>(what);  // from the start of the data, until CheckExtents
    if (const GgmlType* const type = FindGgmlType(tensor.type)) {
      const int64_t cols = n_dims == 0 ? 1 : tensor.dims[0];
      if (cols % type->block_elements != 0) {
        throw InputError(fmt::format("{}: {} has {} columns, expected a multiple of {} for {}",
                                     path(), what, cols, type->block_elements, type->name));
      }
      if (__builtin_mul_overflow(n_elements / type->block_elements, type->block_bytes,
                                 &tensor.bytes)) {
        throw InputError(fmt::format("{}: {} has {} elements of {}, more than a file can hold",
                                     path(), what, n_elements, type->name));
      }
    }
    if (!tensor_index_.emplace(tensor.name, tensors_.size()).second) {
      throw InputError(fmt::format("{}: {} appears twice", path(), what));
    }
    tensors_.push_back(std::move(tensor));
  }
}

// Makes offsets absolute; every tensor lies in the file, aligned, and none lies over another.
void GgufFile::CheckExtents() {
  const uint64_t size_bytes = file_.size_bytes();
  const uint64_t data_begin = RoundUp(head_bytes_, alignment_bytes_);
  std::vector<const GgufTensor*> by_offset;
  for (GgufTensor& tensor : tensors_) {
    const uint64_t room = size_bytes > data_begin ? size_bytes - data_begin : 0;
    const auto bytes = static_cast<uint64_t>(std::max<int64_t>(tensor.bytes, 0));
    if (tensor.offset_bytes > room || bytes > room - tensor.offset_bytes) {
      throw InputError(fmt::format(
          "{}: tensor {} takes {} bytes at offset {} of the data, but the data has {} bytes, as of "
          "a file that was cut short",
          path(), Quoted(tensor.name), bytes, tensor.offset_bytes, room));
    }
    if (tensor.offset_bytes % alignment_bytes_ != 0) {
      throw InputError(fmt::format("{}: tensor {} has offset {}, expected a multiple of {}", path(),
                                   Quoted(tensor.name), tensor.offset_bytes, alignment_bytes_));
    }
    tensor.offset_bytes += data_begin;
    if (bytes > 0) by_offset.push_back(&tensor);
  }
  std::sort(by_offset.begin(), by_offset.end(), [](const GgufTensor* a, const GgufTensor* b) {
    return a->offset_bytes < b->offset_bytes;
  });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const GgufTensor& previous = *by_offset[i - 1];
    if (by_offset[i]->offset_bytes <
        previous.offset_bytes + static_cast<uint64_t>(previous.bytes)) {
      throw InputError(fmt::format("{}: tensors {} and {} overlap", path(), Quoted(previous.name),
                                   Quoted(by_offset[i]->name)));
    }
  }
}

}  // namespace kvfold
