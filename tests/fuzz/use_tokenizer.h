// tests/fuzz/use_tokenizer.h: texts there and back through a tokenizer that a hostile file made.
#pragma once

#include <string>
#include <string_view>

#include "models/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzz_target.h"

namespace kvfold::fuzz {

// `text` beside one that holds what tokenizers look for. Aborts where the stream and the whole
// disagree.
inline void UseTokenizer(const Tokenizer& tokenizer, std::string_view text) {
  constexpr std::string_view kOwn =
      "It's 1234  words,\r\n\n Zoe\xCC\x88 \xE4\xB8\x96 <s>aaaaaab\t ";
  for (const std::string_view part : {kOwn, text}) {
    Attempt([&] {
      const std::vector<TokenId> ids = tokenizer.Encode(part, /*add_special=*/true);
      tokenizer.Decode(ids, /*skip_special=*/false);
      StreamDecoder stream(tokenizer);
      std::string streamed;
      for (const TokenId id : ids) streamed += stream.Push(id);
      streamed += stream.Finish();
      KVFOLD_CHECK(streamed == tokenizer.Decode(ids, /*skip_special=*/true), "streamed", streamed);
    });
  }
  for (const TokenId id : {-1, 0, 1, 1 << 24}) {
    tokenizer.Decode(std::vector<TokenId>{id}, /*skip_special=*/false);
  }
  tokenizer.TokenToId(text);
}

}  // namespace kvfold::fuzz
