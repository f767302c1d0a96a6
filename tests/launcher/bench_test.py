"""bench: figures that fit together, on tiny models; how fast they are is nobody's test."""

import os
import unittest

from launcher_case import LLAMA, LauncherCase, kvfold, main, read_json

RUN_KEYS = {"tokens", "chunk", "ranks", "fold_s", "tokens_per_s", "decode_tokens_per_s", "linear", "attention", "comm_share",
            "planned_bytes", "peak_bytes"}


class Bench(LauncherCase):
    def bench(self, *arguments, ranks=None):
        result = kvfold("bench", *arguments, "--repeats", 1, "--decode-tokens", 2, "--json", ranks=ranks)
        self.assert_done(result)
        return self.assert_json(result)

    def assert_run(self, run, tokens, chunk, ranks):
        self.assertLessEqual(RUN_KEYS, set(run))
        self.assertEqual((run["tokens"], run["chunk"], run["ranks"]), (tokens, chunk, ranks))
        self.assertAlmostEqual(run["tokens_per_s"] * run["fold_s"], tokens, delta=1e-6 * tokens)
        self.assertEqual(len(run["planned_bytes"]), ranks)
        self.assertEqual(len(run["peak_bytes"]), ranks)
        self.assertTrue(all(1 << 20 < resident < 1 << 40 for resident in run["peak_bytes"]), run["peak_bytes"])
        # What a CPU's memory holds is all there is to tell.
        self.assertEqual(len(run.get("device_peak_bytes", [])), 0 if run["device"] == "cpu" else ranks)
        for part in ("linear", "attention"):
            rate = run[part]
            self.assertGreater(rate["gflops"], 0)
            self.assertAlmostEqual(rate["gflops"] / rate["ceiling_gflops"], rate["fraction"], places=9)
        self.assertAlmostEqual(sum(run["breakdown"].values()), run["fold_s"], places=9)
        self.assertTrue(0 <= run["comm_share"] <= 1, run["comm_share"])

    def test_one_setting_is_one_object(self):
        self.assert_run(self.bench("--model", LLAMA, "--tokens", 96, "--chunk", 32), 96, 32, 1)

    def test_lists_are_run_one_by_one(self):
        runs = self.bench("--model", LLAMA, "--tokens", "64,100", "--chunk", "16,1000,2000")["runs"]
        self.assertEqual([(run["tokens"], run["chunk"]) for run in runs], [(64, 16), (64, 64), (100, 16), (100, 100)])

    def test_pretended_ranks_tell_of_one_share(self):
        run = self.bench("--model", LLAMA, "--tokens", 64, "--chunk", 16, "--pretend-ranks", 2)
        self.assertEqual((run["ranks"], run["pretended"]), (2, True))
        self.assertEqual((len(run["planned_bytes"]), len(run["peak_bytes"])), (2, 1))
        whole = self.bench("--model", LLAMA, "--tokens", 64, "--chunk", 16)
        self.assertLess(run["planned_bytes"][0], whole["planned_bytes"][0])
        self.assertFalse(whole["pretended"])
        result = kvfold("bench", "--model", LLAMA, "--pretend-ranks", 2, ranks=2)
        self.assert_refused(result, "--pretend-ranks")

    def test_two_ranks(self):
        self.assert_run(self.bench("--model", LLAMA, "--tokens", 64, "--chunk", 16, ranks=2), 64, 16, 2)

    def test_flop_of_products_is_twice_rows_times_weights(self):
        run = self.bench("--model", LLAMA, "--tokens", 64, "--chunk", 16)
        config = read_json(LLAMA, "config.json")
        hidden, ffn, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
        head_dim = hidden // config["num_attention_heads"]
        width = (config["num_attention_heads"] + 2 * config["num_key_value_heads"]) * head_dim
        weights = layers * (hidden * width + hidden * hidden + 3 * hidden * ffn)
        flop = 2 * 64 * weights + 2 * hidden * config["vocab_size"]  # logits of the last token
        counted = run["linear"]["gflops"] * 1e9 * run["breakdown"]["linear_s"]
        self.assertAlmostEqual(counted / flop, 1.0, places=9)

    def test_random_weights_of_a_config(self):
        config = os.path.join(LLAMA, "config.json")
        self.assert_run(self.bench("--random-weights", config, "--tokens", 64, "--chunk", 64), 64, 64, 1)

    def test_neither_model_nor_random_weights(self):
        result = kvfold("bench", "--tokens", 64)
        self.assertEqual(result.code, 2, str(result))
        self.assertEqual(len(result.sentences), 1, str(result))

    def test_a_person_reads_where_the_time_went(self):
        result = kvfold("bench", "--model", LLAMA, "--tokens", 64, "--repeats", 1)
        self.assert_done(result)
        for word in ("tokens/s", "projections", "attention", "communication", "the rest", "decode"):
            self.assertIn(word, result.stdout)


if __name__ == "__main__":
    main()
