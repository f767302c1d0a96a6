// models/tokenizer/byte_alphabet.h: the printable character that stands for each byte in a
// byte-level vocabulary, where "Ġ" is a space. Source: bytes_to_unicode() of GPT-2,
// https://github.com/openai/gpt-2/blob/master/src/encoder.py
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kvfold {

// The character (U+0021 to U+0143) of a byte.
char32_t ByteAlphabetCharacter(uint8_t byte);
// The bytes that `token` stands for; nullopt where it has a character that stands for no byte.
// Requires: well-formed UTF-8.
std::optional<std::string> BytesOfToken(std::string_view token);

}  // namespace kvfold
