#include "models/checkpoint/file_kind.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <fstream>

#include "comm/error.h"
#include "models/quoted.h"

namespace kvfold {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kLfsPointer = "version https://git-lfs.github.com/spec/";
constexpr std::string_view kUtf8Mark = "\xEF\xBB\xBF"sv;

struct Magic {
  std::string_view begins;
  std::string_view description;
};
// The old formats of llama.cpp wrote their four letters as one little-endian number.
constexpr Magic kForeignMagics[] = {
    {"FUGG"sv, "a big-endian GGUF file"},
    {"lmgg"sv, "a ggml file, a format of before GGUF that nothing reads any more"},
    {"fmgg"sv, "a ggmf file, a format of before GGUF that nothing reads any more"},
    {"tjgg"sv, "a ggjt file, a format of before GGUF that nothing reads any more"},
    {"algg"sv, "a ggla file, a LoRA adapter of before GGUF"},
    {"nsgg"sv, "a session that llama.cpp saved, no model"},
    {"qsgg"sv, "a sequence that llama.cpp saved, no model"},
    {"PK\3\4"sv, "a zip archive, as PyTorch's .bin, .pt and .pth files are"},
    {"PK\5\6"sv, "an empty zip archive"},
    {"\x89HDF\r\n\x1A\n"sv, "an HDF5 file, as TensorFlow's .h5 weights are"},
    {"\x93NUMPY"sv, "a NumPy array"},
    {"\x1F\x8B"sv, "a gzip archive, which is to be unpacked first"},
    {"BZh"sv, "a bzip2 archive, which is to be unpacked first"},
    {"\xFD"
     "7zXZ\0"sv,
     "an xz archive, which is to be unpacked first"},
    {"\x28\xB5\x2F\xFD"sv, "a zstd archive, which is to be unpacked first"},
    {"7z\xBC\xAF\x27\x1C"sv, "a 7z archive, which is to be unpacked first"},
    {"Rar!"sv, "a rar archive, which is to be unpacked first"},
    {"\x7F"
     "ELF"sv,
     "a program"},
};

std::string_view WithoutBlanks(std::string_view text) {
  if (text.starts_with(kUtf8Mark)) text.remove_prefix(kUtf8Mark.size());
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first == std::string_view::npos ? std::string_view() : text.substr(first);
}

bool StartsWithWord(std::string_view text, std::string_view lower_case) {
  return text.size() >= lower_case.size() &&
         std::equal(lower_case.begin(), lower_case.end(), text.begin(), [](char a, char b) {
           return a == std::tolower(static_cast<unsigned char>(b));
         });
}

// "size 2442848576" of a pointer's lines; "" where it has none.
std::string_view LfsSize(std::string_view pointer) {
  const size_t at = pointer.find("\nsize ");
  if (at == std::string_view::npos) return "";
  std::string_view digits = pointer.substr(at + 6);
  digits = digits.substr(0, digits.find_first_not_of("0123456789"));
  return digits.substr(0, 20);
}

std::string DescribeLfsPointer(std::string_view text) {
  const std::string_view size = LfsSize(text);
  return fmt::format("a Git LFS pointer{}, not the file itself: fetch it with \"git lfs pull\"",
                     size.empty() ? "" : fmt::format(" to a file of {} bytes", size));
}

bool IsSafetensors(std::string_view text, uint64_t size_bytes) {
  constexpr uint64_t kMostHeaderBytes = 100'000'000;  // as the format's own reader has it
  uint64_t header_bytes = 0;
  if (text.size() <= sizeof(header_bytes)) return false;
  std::memcpy(&header_bytes, text.data(), sizeof(header_bytes));
  return header_bytes <= std::min(kMostHeaderBytes, size_bytes) && text[8] == '{';
}

// protocol 2 to 5: 0x80, the protocol's number, and an operation.
bool IsPickle(std::string_view text) {
  return text.size() > 2 && text[0] == '\x80' && text[1] >= 2 && text[1] <= 5;
}

// A protocol buffer whose first field is a piece, of which the first is the unknown token.
bool IsSentencePiece(std::string_view text) {
  return text.starts_with('\n') && text.substr(0, 64).find("<unk>") != std::string_view::npos;
}

// "IQ== 0": a token in base64, and its rank.
bool IsTiktoken(std::string_view text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || space == 0 || space % 4 != 0) return false;
  const auto is_base64 = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '+' || c == '/' || c == '=';
  };
  const std::string_view rank = line.substr(space + 1);
  return std::all_of(line.begin(), line.begin() + static_cast<ptrdiff_t>(space), is_base64) &&
         rank.substr(0, rank.find('\r')) == "0";
}

}  // namespace

FileNature SniffFile(std::span<const uint8_t> bytes, uint64_t size_bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()),
                              std::min(bytes.size(), kMostSniffedBytes));
  if (size_bytes == 0) return {FileKind::kForeign, "an empty file"};
  if (text.starts_with("GGUF")) return {FileKind::kGguf, "a GGUF file"};
  if (text.starts_with(kLfsPointer)) return {FileKind::kForeign, DescribeLfsPointer(text)};
  if (IsSafetensors(text, size_bytes)) return {FileKind::kSafetensors, "a safetensors file"};
  for (const Magic& magic : kForeignMagics) {
    if (text.starts_with(magic.begins)) {
      return {FileKind::kForeign, std::string(magic.description)};
    }
  }
  if (IsPickle(text)) {
    return {FileKind::kForeign, "a Python pickle, as old PyTorch files are"};
  }
  if (IsSentencePiece(text)) return {FileKind::kForeign, std::string(kSentencePiece)};
  if (IsTiktoken(text)) {
    return {FileKind::kForeign,
            "a tiktoken vocabulary, of which scripts/tiktoken_to_tokenizer_json.py makes a "
            "tokenizer.json"};
  }
  if (text.size() > 262 && text.substr(257, 5) == "ustar") {
    return {FileKind::kForeign, "a tar archive, which is to be unpacked first"};
  }
  if (text.size() >= 16 && text.find_first_not_of('\0') == std::string_view::npos) {
    return {FileKind::kForeign, "a file that begins with zeros, as an unfinished download does"};
  }
  const std::string_view begin = WithoutBlanks(text);
  for (const std::string_view tag : {"<!doctype", "<html", "<head", "<body"}) {
    if (StartsWithWord(begin, tag)) {
      return {FileKind::kForeign, "a web page, as a download that went wrong leaves"};
    }
  }
  if (StartsWithWord(begin, "<?xml") || StartsWithWord(begin, "<error")) {
    return {FileKind::kForeign,
            fmt::format("an XML text, as a download that went wrong leaves, which begins {}",
                        Quoted(begin))};
  }
  if (begin.starts_with('{') || begin.starts_with('[')) return {FileKind::kJson, "a JSON file"};
  if (text.starts_with("\xFF\xFE"sv) || text.starts_with("\xFE\xFF"sv)) {
    return {FileKind::kJson, "a UTF-16 text"};
  }
  return {FileKind::kUnknown, fmt::format("a file that begins {}", Quoted(text.substr(0, 32)))};
}

FileNature SniffFile(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return {FileKind::kUnknown, "no file"};
  const auto size_bytes = std::filesystem::file_size(path, error);
  std::string bytes(kMostSniffedBytes, '\0');
  std::ifstream in(path, std::ios::binary);
  in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (error || in.bad()) return {FileKind::kUnknown, "a file that cannot be read"};
  bytes.resize(static_cast<size_t>(std::max<std::streamsize>(in.gcount(), 0)));
  return SniffFile({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, size_bytes);
}

void RefuseOtherKinds(const std::string& path, std::span<const uint8_t> bytes, FileKind expected,
                      std::string_view what) {
  const FileNature nature = SniffFile(bytes, bytes.size());
  if (nature.kind == expected || nature.kind == FileKind::kUnknown) return;
  throw InputError(fmt::format("{}: {}, expected {}", path, nature.description, what));
}

}  // namespace kvfold
