// models/tokenizer/normalizer.h: Unicode normalization form NFC (UAX #15), by ICU.
#pragma once

#include <string>
#include <string_view>

namespace kvfold {

// `text` in NFC: `text` itself where it is so already, else what was written to `storage`.
// Characters that Unicode 9.0 did not have are left as they are, because Hugging Face tokenizers'
// tables end there. Requires: well-formed UTF-8. Throws InputError where a text of 2 GiB or more is
// to be normalized, or one with more than 512 combining marks on one character.
std::string_view NormalizeNfc(std::string_view text, std::string& storage);

}  // namespace kvfold
