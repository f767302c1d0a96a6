// The text of a reply, and where stop strings end it: among letters and special tokens.
#include "runtime/fold/reply.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvfold {
namespace {

// Tokens are their texts, in the order in which they are given; those in angle brackets are
// special.
class PieceTokenizer : public Tokenizer {
 public:
  explicit PieceTokenizer(std::vector<std::string> pieces) : pieces_(std::move(pieces)) {}
  std::vector<TokenId> Encode(std::string_view, bool) const override { return {}; }
  std::string Decode(std::span<const TokenId>, bool) const override { return ""; }
  std::string_view TokenBytes(TokenId id, bool skip_special) const override {
    const std::string& piece = pieces_.at(static_cast<size_t>(id));
    return skip_special && piece.starts_with('<') ? std::string_view() : piece;
  }
  int64_t vocab_size() const override { return static_cast<int64_t>(pieces_.size()); }
  TokenId TokenToId(std::string_view) const override { return -1; }

 private:
  std::vector<std::string> pieces_;
};

struct Outcome {
  std::string text;
  int64_t n_tokens = 0;  // that were taken
  bool stopped = false;
};

// All pieces one after another; `end`: the last one ends the generation.
Outcome Say(const std::vector<std::string>& pieces, const std::vector<std::string>& stop,
            bool end = false) {
  const PieceTokenizer tokenizer(pieces);
  Reply reply(tokenizer, SpecialTexts(tokenizer), stop);
  Outcome outcome;
  std::string shown;
  for (TokenId id = 0; id < tokenizer.vocab_size() && !outcome.stopped; ++id) {
    const bool ends = end && id + 1 == tokenizer.vocab_size();
    outcome.stopped = ends ? reply.TakeEnd(id) : reply.Take(id);
    shown += reply.piece();
    ++outcome.n_tokens;
  }
  if (!outcome.stopped) {
    reply.Finish();
    shown += reply.piece();
    EXPECT_EQ(shown, reply.text());
  }
  outcome.text = reply.text();
  return outcome;
}

void Expect(const Outcome& got, const std::string& text, int64_t n_tokens, bool stopped = true) {
  EXPECT_EQ(got.text, text);
  EXPECT_EQ(got.n_tokens, n_tokens);
  EXPECT_EQ(got.stopped, stopped);
}

TEST(Reply, SpecialTokensAreNoPartOfTheText) {
  Expect(Say({"h", "<x>", "i"}, {}), "hi", 3, false);
  Expect(Say({"h", "<x>", "i"}, {"zz"}), "hi", 3, false);
  Expect(Say({"h", "<x>", "i", "!"}, {"hi"}), "", 3);
}

TEST(Reply, StopsAtASpecialToken) {
  Expect(Say({"h", "i", "<end>", "x"}, {"<end>"}), "hi", 3);
  Expect(Say({"h", "<a>", "i", "<end>", "x"}, {"zz", "<end>"}), "hi", 4);
  Expect(Say({"<end>"}, {"<end>"}), "", 1);
  Expect(Say({"h", "<end>"}, {"<en"}), "h", 2, false);                  // no whole token's text
  Expect(Say({"h", "<end>"}, {"end"}), "h", 2, false);                  // the same
  Expect(Say({"h", "\\<", "end", ">", "<end>"}, {"<end>"}), "h\\", 4);  // letters that read so
}

TEST(Reply, StopsOverTheBordersOfSpecialTokens) {
  Expect(Say({"h", "i\n", "<end>", "x"}, {"\n<end>"}), "hi", 3);
  Expect(Say({"o", "h", "i", "<end>", "x"}, {"hi<end>"}), "o", 4);
  Expect(Say({"h", "<end>", "\nx", "y"}, {"<end>\n"}), "h", 3);
  Expect(Say({"h", "<end>", "<go>", "y"}, {"<end><go>"}), "h", 3);
  Expect(Say({"h", "<end>", "y", "<end>", "<go>"}, {"<end><go>"}), "hy", 5);
  Expect(Say({"a", "<x>", "b", "<y>", "c", "d"}, {"<x>b<y>c"}), "a", 5);
  Expect(Say({"a", "<x>", "b"}, {"x>b", "<x>b"}), "a", 3);
  Expect(Say({"a", "<ab>", "<cd>", "e"}, {"b><cd>"}), "a", 3);
}

TEST(Reply, StopsBeforeWhatComesFirst) {
  Expect(Say({"ab", "<x>", "cd"}, {"<x>c", "bc"}), "a", 3);
  Expect(Say({"ab", "<x>", "cd"}, {"d", "<x>cd"}), "ab", 3);
  Expect(Say({"ab", "c<", "x"}, {"bc", "c"}), "a", 2);
}

// The end of a generation is no part of the text, but a stop string may name it.
TEST(Reply, AStopStringMayEndWithTheEnd) {
  Expect(Say({"o", "h", "i", "<end>"}, {"hi<end>"}, true), "o", 4);
  Expect(Say({"h", "i", "<end>"}, {"<end>"}, true), "hi", 3);
  Expect(Say({"h", "i", "<end>"}, {"x<end>"}, true), "hi", 3, false);
  Expect(Say({"h", "i", "<end>"}, {}, true), "hi", 3, false);
}

TEST(Reply, CharactersMayBeCutBySpecialTokens) {
  Expect(Say({"a\xc3", "<x>", "\xa9"}, {}), "a\u00e9", 3, false);
  Expect(Say({"a\xc3", "<x>", "\xa9", "<end>", "b"}, {"<end>"}), "a\u00e9", 4);
  Expect(Say({"a\xc3", "<end>", "b"}, {"<end>"}), "a\ufffd", 2);
  Expect(Say({"\u00e9\xc3", "\xa9<", "x", "<x>"}, {"\u00e9\u00e9"}), "", 2);
}

}  // namespace
}  // namespace kvfold
