#include "models/checkpoint/safetensors_file.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>

#include "comm/error.h"
#include "models/checkpoint/file_kind.h"
#include "models/json_file.h"
#include "models/quoted.h"

namespace kvfold {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kMostHeaderBytes = 100'000'000;  // as the format's own reader has it

// 0 where the element type is not known (or has no whole number of bytes).
int64_t DtypeBytes(std::string_view dtype) {
  struct Dtype {
    std::string_view name;
    int64_t bytes;
  };
  constexpr Dtype kDtypes[] = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"F8_E8M0", 1},
      {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},     {"U32", 4},
      {"F32", 4},  {"I64", 8}, {"U64", 8}, {"F64", 8},     {"C64", 8},
  };
  for (const Dtype& known : kDtypes) {
    if (dtype == known.name) return known.bytes;
  }
  return 0;
}

bool IsSize(const Json& value) {
  return value.is_number_unsigned() && value.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX);
}

bool IsSizes(const Json& value) {
  return value.is_array() && std::all_of(value.begin(), value.end(), IsSize);
}

SafetensorsEntry ReadEntry(const std::string& path, const std::string& name, const Json& json,
                           uint64_t head_bytes, uint64_t data_bytes) {
  const std::string what = fmt::format("{}: tensor {}", path, Quoted(name));
  if (!json.is_object() || json.size() != 3 || !json.contains("dtype") || !json.contains("shape") ||
      !json.contains("data_offsets")) {
    throw InputError(
        fmt::format("{}: expected dtype, shape and data_offsets, and nothing else", what));
  }
  const Json& dtype = json["dtype"];
  const Json& shape = json["shape"];
  const Json& offsets = json["data_offsets"];
  if (!dtype.is_string()) throw InputError(fmt::format("{}: dtype is not a string", what));
  if (!IsSizes(shape)) throw InputError(fmt::format("{}: shape is not a list of sizes", what));
  if (!IsSizes(offsets) || offsets.size() != 2) {
    throw InputError(fmt::format("{}: data_offsets are not two sizes", what));
  }
  const auto begin = offsets[0].get<uint64_t>();
  const auto end = offsets[1].get<uint64_t>();
  if (begin > end || end > data_bytes) {
    throw InputError(
        fmt::format("{}: data_offsets are [{}, {}], but the file has {} bytes of "
                    "data, as one that was cut short",
                    what, begin, end, data_bytes));
  }
  SafetensorsEntry entry;
  entry.name = name;
  entry.dtype = dtype.get<std::string>();
  entry.shape = shape.get<std::vector<int64_t>>();
  entry.offset_bytes = head_bytes + begin;
  entry.bytes = static_cast<int64_t>(end - begin);
  int64_t expected_bytes = DtypeBytes(entry.dtype);
  if (expected_bytes == 0) return entry;
  bool overflows = false;
  for (const int64_t size : entry.shape) {
    overflows |= __builtin_mul_overflow(expected_bytes, size, &expected_bytes);
  }
  if (overflows || expected_bytes != entry.bytes) {
    throw InputError(fmt::format("{}: {} of shape [{}] is not the {} bytes of its data_offsets",
                                 what, entry.dtype, fmt::join(entry.shape, ", "), entry.bytes));
  }
  return entry;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path) {
  RefuseOtherKinds(file_.path(), file_.bytes(), FileKind::kSafetensors, "a safetensors file");
  uint64_t header_bytes = 0;
  if (file_.size_bytes() < sizeof(header_bytes)) {
    throw InputError(fmt::format("{}: {} bytes long, too short for a safetensors file",
                                 file_.path(), file_.size_bytes()));
  }
  std::memcpy(&header_bytes, file_.data(), sizeof(header_bytes));
  const uint64_t room = file_.size_bytes() - sizeof(header_bytes);
  if (header_bytes > std::min(room, kMostHeaderBytes)) {
    throw InputError(fmt::format("{}: says its header has {} bytes, expected at most {}",
                                 file_.path(), header_bytes, std::min(room, kMostHeaderBytes)));
  }
  head_bytes_ = sizeof(header_bytes) + header_bytes;
  const Json header =
      ParseJson({reinterpret_cast<const char*>(file_.data()) + sizeof(header_bytes), header_bytes},
                file_.path());
  if (!header.is_object()) {
    throw InputError(fmt::format("{}: the header is not a JSON object", file_.path()));
  }
  for (const auto& [name, json] : header.items()) {
    if (name == "__metadata__") continue;
    entries_.push_back(
        ReadEntry(file_.path(), name, json, head_bytes_, file_.size_bytes() - head_bytes_));
  }
  CheckOverlap();
}

void SafetensorsFile::CheckOverlap() const {
  std::vector<const SafetensorsEntry*> by_offset;
  for (const SafetensorsEntry& entry : entries_) {
    if (entry.bytes > 0) by_offset.push_back(&entry);
  }
  std::sort(by_offset.begin(), by_offset.end(),
            [](const SafetensorsEntry* a, const SafetensorsEntry* b) {
              return a->offset_bytes < b->offset_bytes;
            });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const SafetensorsEntry& previous = *by_offset[i - 1];
    if (by_offset[i]->offset_bytes <
        previous.offset_bytes + static_cast<uint64_t>(previous.bytes)) {
      throw InputError(fmt::format("{}: tensors {} and {} overlap", file_.path(),
                                   Quoted(previous.name), Quoted(by_offset[i]->name)));
    }
  }
}

}  // namespace kvfold
