#include "models/tokenizer/byte_alphabet.h"

#include <array>

#include "models/tokenizer/utf8.h"

namespace kvfold {
namespace {

constexpr int kCharacters = 0x144;  // the alphabet's highest character is U+0143

struct Alphabet {
  std::array<char32_t, 256> character{};
  std::array<int16_t, kCharacters> byte{};

  constexpr Alphabet() {
    byte.fill(-1);
    char32_t next = 256;  // printable Latin-1 stands for itself, all else for what follows 255
    for (int b = 0; b < 256; ++b) {
      const bool printable =
          (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE && b <= 0xFF);
      character[b] = printable ? static_cast<char32_t>(b) : next++;
      byte[character[b]] = static_cast<int16_t>(b);
    }
  }
};
constexpr Alphabet kAlphabet;

}  // namespace

char32_t ByteAlphabetCharacter(uint8_t byte) { return kAlphabet.character[byte]; }

std::optional<std::string> BytesOfToken(std::string_view token) {
  std::string bytes;
  bytes.reserve(token.size());
  for (size_t offset = 0; offset < token.size();) {
    const char32_t c = NextCodePoint(token, offset);
    if (c >= kCharacters || kAlphabet.byte[c] < 0) return std::nullopt;
    bytes += static_cast<char>(kAlphabet.byte[c]);
  }
  return bytes;
}

}  // namespace kvfold
