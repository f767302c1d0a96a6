"""score against what transformers computes, plainly and under mpirun."""

import array
import math
import os
import shutil

from byte_model import byte_model
from hurt_model import set_weights
from launcher_case import (LLAMA, MODELS, LauncherCase, kvfold, long, main, mean_nll, read_json, read_npy, with_mounts)

LOGIT_TOLERANCE = 1e-4  # the design's; two float32 passes of the fixtures differ from float64 by 1.5e-5
# The mean of 179 log-likelihoods, each of which is within twice the logits' own error.
NLL_TOLERANCE = 1e-5


class Score(LauncherCase):
    @classmethod
    def setUpClass(cls):
        cls.reference = {}
        for model in ("llama_gqa", "qwen2", "llama_gqa_gguf"):
            folder = os.path.join(MODELS, model, "reference")
            rows, cols, logits = read_npy(os.path.join(folder, "logits.npy"))
            tokens = read_json(folder, "tokens.json")
            cls.reference[model] = (rows, cols, logits, tokens, mean_nll(rows, cols, logits, tokens))

    def score(self, model, *arguments, ranks=None):
        path = os.path.join(MODELS, model)
        if model.endswith("_gguf"):
            path = os.path.join(path, "model.gguf")
        return kvfold("score", "--model", path, "--tokens", os.path.join(MODELS, model, "reference", "tokens.json"),
                      "--dtype", "f32", *arguments, ranks=ranks)

    def assert_matches(self, model, *arguments, chunk, ranks=None):
        rows, cols, logits, tokens, nll = self.reference[model]
        out = self.path("logits.npy")
        result = self.score(model, "--json", "--logits", out, *arguments, ranks=ranks)
        self.assert_done(result)
        score = self.assert_json(result)
        self.assertLessEqual({"tokens", "nll", "nll_by_chunk", "ranks", "chunk"}, set(score))
        self.assertEqual(score["tokens"], len(tokens))
        self.assertEqual(score["ranks"], ranks or 1)
        self.assertEqual(score["chunk"], chunk)
        self.assertLessEqual(abs(score["nll"] - nll), NLL_TOLERANCE)
        # A chunk scores the tokens after its own; after the last there is none.
        counts = [min(chunk, len(tokens) - 1 - begin) for begin in range(0, len(tokens) - 1, chunk)]
        self.assertEqual(len(score["nll_by_chunk"]), len(counts))
        by_chunk = sum(n * mean for n, mean in zip(counts, score["nll_by_chunk"]))
        self.assertLessEqual(abs(by_chunk / (len(tokens) - 1) - score["nll"]), 1e-9)
        got_rows, got_cols, got = read_npy(out)
        self.assertEqual((got_rows, got_cols), (rows, cols))
        for i, (value, want) in enumerate(zip(got, logits)):
            if not abs(value - want) <= LOGIT_TOLERANCE:  # negated, so that NaN fails
                self.fail(f"row {i // cols}, column {i % cols}: {value}, expected {want}")
        self.assertEqual(os.listdir(self.folder), ["logits.npy"])

    def test_fold_of_any_chunk(self):
        for chunk in (1, 7, 64):
            with self.subTest(chunk=chunk):
                self.assert_matches("llama_gqa", "--chunk", chunk, chunk=chunk)

    def test_full_is_one_chunk(self):
        n_tokens = self.reference["llama_gqa"][0]
        self.assert_matches("llama_gqa", "--attention", "full", "--chunk", 7, chunk=n_tokens)
        self.assert_matches("llama_gqa", "--chunk", 100000, chunk=n_tokens)

    def test_other_models(self):
        self.assert_matches("qwen2", "--chunk", 64, chunk=64)
        self.assert_matches("llama_gqa_gguf", "--chunk", 7, chunk=7)

    def test_under_mpirun(self):
        for ranks, chunk in [(2, 7), (3, 64), (3, 1), (4, 7)]:
            with self.subTest(ranks=ranks, chunk=chunk):
                self.assert_matches("llama_gqa", "--chunk", chunk, chunk=chunk, ranks=ranks)
        self.assert_matches("llama_gqa", "--attention", "full", chunk=self.reference["llama_gqa"][0], ranks=2)

    def test_where_shared_memory_is_small(self):
        score = ["score", "--model", LLAMA, "--tokens", self.write("t.json", "[1, 2, 3, 4]"), "--json", "--dtype", "f32"]
        want = self.assert_json(kvfold(*score, ranks=2))["nll"]
        mount = "mount -t tmpfs -o size=1m{} tmpfs /dev/shm"
        for script, warned in [(mount.format(""), 1), (mount.format("") + "; head -c 1040000 /dev/zero > /dev/shm/full", 1),
                               (mount.format(",ro"), 0)]:  # what cannot be written to MPI does not use
            with self.subTest(script=script):
                result = with_mounts(script, *score, ranks=2)
                self.assert_done(result)
                self.assertEqual(self.assert_json(result)["nll"], want)
                self.assertEqual(result.stderr.count("they talk over TCP"), warned, str(result))

    def test_one_rank_under_mpirun_is_a_plain_start(self):
        plain = self.assert_json(self.score("llama_gqa", "--json"))
        one = self.assert_json(self.score("llama_gqa", "--json", ranks=1))
        self.assertEqual((plain["nll"], plain["nll_by_chunk"]), (one["nll"], one["nll_by_chunk"]))

    def test_same_bits_every_run(self):
        for ranks in (None, 3):
            runs = [self.assert_json(self.score("llama_gqa", "--json", "--chunk", 7, ranks=ranks)) for _ in range(2)]
            self.assertEqual(runs[0]["nll_by_chunk"], runs[1]["nll_by_chunk"])

    def test_text_output_is_one_line(self):
        result = self.score("llama_gqa", "--chunk", 64)
        self.assert_done(result)
        self.assertRegex(result.stdout, r"^180 tokens in 3 chunks, nll \d\.\d{6} nats per token, perplexity [\d.]+, .*s\n$")
        self.assertIn("weights", result.stderr)  # the table of ranks
        quiet = self.score("llama_gqa", "--log-level", "off")
        self.assert_done(quiet)
        self.assertEqual(quiet.stderr, "")

    @long
    def test_logits_that_are_no_numbers(self):
        model = shutil.copytree(LLAMA, self.path("model"))
        tokens = self.write("t.json", "[1, 2, 3, 7, 5, 6]")
        out = self.path("logits.npy")
        set_weights(model, "model.embed_tokens.weight", math.nan, 7)
        for arguments in ([], ["--json"], ["--chunk", 2], ["--logits", out]):
            for ranks in (None, 2):
                with self.subTest(arguments=arguments, ranks=ranks):
                    result = kvfold("score", "--model", model, "--tokens", tokens, *arguments, ranks=ranks)
                    self.assert_refused(result, "logits at position 3 ", code=1)
                    self.assertEqual(sorted(os.listdir(self.folder)), ["model", "t.json"])
        set_weights(model, "lm_head.weight", math.inf, 255)  # of the last rank's share alone
        for ranks in (None, 3):
            self.assert_refused(kvfold("score", "--model", model, "--tokens", tokens, ranks=ranks), "position 0 ", code=1)

    def test_two_tokens_are_the_fewest(self):
        result = kvfold("score", "--model", LLAMA, "--tokens", self.write("t.json", "[1, 2]"), "--json", "--chunk", 1)
        self.assert_done(result)
        self.assertEqual(self.assert_json(result)["tokens"], 2)
        for text in ("[]", "[1]"):
            self.assert_refused(kvfold("score", "--model", LLAMA, "--tokens", self.write("t.json", text)), "at least 2")

    def test_tokens_that_are_none(self):
        for text, word in [("", "JSON array"), ("{}", "JSON array"), ("[1, 2", "JSON array"), ("[1, -1]", "element 1"),
                           ("[1, 2.5]", "element 1"), ('[1, "2"]', "element 1"), ("[1, 99999999999999999999]", "element 1"),
                           ("[1, 18446744073709551615]", "element 1"), ("[1, 256]", "256"), ("[1, null]", "element 1")]:
            with self.subTest(text=text):
                path = self.write("t.json", text)
                self.assert_refused(kvfold("score", "--model", LLAMA, "--tokens", path), word)
        self.assert_refused(kvfold("score", "--model", LLAMA, "--tokens", "/no/such"), "/no/such")

    def test_text_without_tokenizer_names_the_way(self):
        text = self.write("text.txt", "some words")
        self.assert_refused(kvfold("score", "--model", LLAMA, "--text", text), LLAMA, "--tokens")

    def test_tokens_and_text_from_standard_input(self):
        with open(os.path.join(LLAMA, "reference", "tokens.json"), encoding="utf-8") as file:
            tokens = file.read()
        for ranks in (None, 2):
            result = kvfold("score", "--model", LLAMA, "--tokens", "-", "--dtype", "f32", "--json", stdin=tokens, ranks=ranks)
            self.assert_done(result)
            self.assertLessEqual(abs(self.assert_json(result)["nll"] - self.reference["llama_gqa"][4]), NLL_TOLERANCE)
        model = byte_model(self.folder)
        self.assertEqual(self.assert_json(kvfold("score", "--model", model, "--text", "-", "--json", stdin="hello"))["tokens"], 5)
        self.assert_refused(kvfold("score", "--model", model, "--text", "-", stdin=""), "at least 2")
        self.assert_refused(kvfold("score", "--model", LLAMA, "--tokens", "-", stdin="[1, x]"), "standard input", "line 1, column 5")

    def test_text_cut_inside_a_character(self):
        model = byte_model(self.folder)
        whole = "hello w\u00f6rld ".encode()
        nll = self.assert_json(kvfold("score", "--model", model, "--text", self.write_bytes("whole", whole), "--json"))["nll"]
        for character in ("\u4e2d", "\u00e9", "\U0001F600"):
            for kept in range(1, len(character.encode())):
                path = self.write_bytes("cut", whole + character.encode()[:kept])
                result = kvfold("score", "--model", model, "--text", path, "--json")
                self.assert_done(result)
                self.assertEqual(self.assert_json(result)["nll"], nll)
                self.assertIn(f"{path} ends inside a character", result.stderr)
        # Elsewhere, or where no more bytes could complete it, it is no UTF-8.
        for data, place in [(b"hello \xe4\xb8 world", 6), (b"caf\xe9 au lait, once more\n", 3), (b"hello\xff", 5), (b"hello\xc0", 5)]:
            result = kvfold("score", "--model", model, "--text", self.write_bytes("bad", data))
            self.assert_refused(result, self.path("bad"), f"UTF-8 at byte {place}")
            self.assert_printable(result)

    def test_other_encodings_are_named(self):
        model = byte_model(self.folder)
        for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"):
            text = self.write_bytes("text", "caf\u00e9 au lait, once more".encode(encoding))
            tokens = self.write_bytes("tokens", "[1, 2, 3]".encode(encoding))
            for option, path in (("--text", text), ("--tokens", tokens)):
                self.assert_refused(kvfold("score", "--model", model, option, path), path, encoding[:6].upper(), "expected UTF-8")

    def test_more_tokens_than_the_cache(self):
        self.assert_refused(self.score("llama_gqa", "--max-tokens", 179), "180", "179", "--max-tokens")
        self.assert_done(self.score("llama_gqa", "--max-tokens", 180))

    def test_logits_that_cannot_be_written(self):
        for ranks in (None, 2):
            result = self.score("llama_gqa", "--logits", "/no/such/folder/x.npy", ranks=ranks)
            self.assert_refused(result, "--logits", "/no/such/folder/x.npy")
            self.assertNotIn("weights", result.stderr)  # before any work
            self.assert_refused(self.score("llama_gqa", "--logits", self.folder, ranks=ranks), self.folder, "folder")

    def test_refused_under_mpirun_by_one_sentence(self):
        path = self.write("t.json", "[1, 256]")
        result = kvfold("score", "--model", LLAMA, "--tokens", path, ranks=2)
        self.assert_refused(result, "256")
        self.assertNotIn("rank", result.sentences[0])

    def test_fixture_is_read_as_it_stands(self):
        rows, cols, logits, tokens, nll = self.reference["llama_gqa"]
        self.assertEqual(len(tokens), rows)
        self.assertIsInstance(logits, array.array)
        self.assertTrue(0.0 < nll < 20.0 and cols == 256)


if __name__ == "__main__":
    main()
