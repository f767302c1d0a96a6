#include "models/tokenizer/normalizer.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uniset.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "comm/error.h"
#include "models/tokenizer/utf8.h"

namespace kvfold {
namespace {

void Check(UErrorCode code) {
  if (U_FAILURE(code)) {
    throw Error(ErrorCode::kFailed,
                fmt::format("ICU cannot normalize to NFC: {}", u_errorName(code)));
  }
}

const icu::Normalizer2& Nfc() {
  static const icu::FilteredNormalizer2* const normalizer = [] {
    UErrorCode code = U_ZERO_ERROR;
    const icu::Normalizer2* all = icu::Normalizer2::getNFCInstance(code);
    Check(code);
    auto* known = new icu::UnicodeSet(icu::UnicodeString(u"[:age=9.0:]"), code);
    Check(code);
    known->freeze();
    return new icu::FilteredNormalizer2(*all, *known);  // both live as long as the process
  }();
  return *normalizer;
}

// ICU sorts the combining marks of one character by insertion: each that stands behind one of a
// higher class is moved past all such, in time that grows with the square of their number. Marks in
// order, as of one kind, cost nothing, however many they are.
void CheckMarks(std::string_view text) {
  constexpr int64_t kMostMoved = 512;
  uint8_t highest = 0;
  int64_t n_moved = 0;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = NextCodePoint(text, at);
    const uint8_t combining_class = Nfc().getCombiningClass(static_cast<UChar32>(c));
    if (combining_class == 0) {
      highest = 0;
      n_moved = 0;
      continue;
    }
    if (combining_class < highest && ++n_moved > kMostMoved) {
      throw InputError(fmt::format(
          "the text has more than {} combining marks out of order on one character, up to byte {} "
          "of a part that is to be normalized",
          kMostMoved, at));
    }
    highest = std::max(highest, combining_class);
  }
}

}  // namespace

std::string_view NormalizeNfc(std::string_view text, std::string& storage) {
  // Characters below U+0300 (CC 80 in UTF-8) neither combine nor decompose.
  const auto below = [](char c) { return static_cast<uint8_t>(c) < 0xCC; };
  if (std::all_of(text.begin(), text.end(), below)) return text;
  if (text.size() > std::numeric_limits<int32_t>::max()) {
    throw InputError(fmt::format(
        "a text of {} bytes is to be normalized in one piece, and at most 2147483647 can be",
        text.size()));
  }
  CheckMarks(text);
  const icu::StringPiece piece(text.data(), static_cast<int32_t>(text.size()));
  UErrorCode code = U_ZERO_ERROR;
  const bool already = Nfc().isNormalizedUTF8(piece, code);
  Check(code);
  if (already) return text;
  storage.clear();
  icu::StringByteSink<std::string> sink(&storage, static_cast<int32_t>(text.size()));
  Nfc().normalizeUTF8(0, piece, sink, nullptr, code);
  Check(code);
  return storage;
}

}  // namespace kvfold
