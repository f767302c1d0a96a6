"""A processor with no AVX-512 and no bf16, as the environment's caps make one of any: `--dtype auto` is f32, and what is
computed is what transformers computes, on one rank and on several."""

import itertools
import os

from launcher_case import LLAMA, LauncherCase, kvfold, main, read_json, read_json_lines, read_npy

LOGIT_TOLERANCE = 1e-4  # the design's
CAPS = [("avx2", "AVX2"), ("generic", "SSE41")]  # KVFOLD_MAX_CPU_ISA, ONEDNN_MAX_CPU_ISA


class CappedProcessor(LauncherCase):
    def setUp(self):
        super().setUp()
        before = {name: os.environ.get(name) for name in ("KVFOLD_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA")}

        def restore():
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

        self.addCleanup(restore)

    def cap(self, ours, onednn):
        os.environ["KVFOLD_MAX_CPU_ISA"] = ours
        os.environ["ONEDNN_MAX_CPU_ISA"] = onednn
        return self.subTest(cap=ours)

    def test_auto_is_f32_and_logits_are_transformers(self):
        reference = os.path.join(LLAMA, "reference")
        rows, cols, want = read_npy(os.path.join(reference, "logits.npy"))
        out = self.path("logits.npy")
        for (ours, onednn), ranks in itertools.product(CAPS, (None, 2)):
            with self.cap(ours, onednn):
                result = kvfold("score", "--model", LLAMA, "--tokens", os.path.join(reference, "tokens.json"),
                                "--dtype", "auto", "--chunk", 64, "--logits", out, "--json", ranks=ranks)
                self.assert_done(result)
                self.assertEqual(result.stderr.count("dtype auto: f32"), 1, result)
                got_rows, got_cols, got = read_npy(out)
                self.assertEqual((got_rows, got_cols), (rows, cols))
                worst = max(abs(value - expected) for value, expected in zip(got, want))
                self.assertTrue(worst <= LOGIT_TOLERANCE, f"{ranks} ranks: {worst}")  # NaN fails

    def test_greedy_text_is_transformers(self):
        reference = os.path.join(LLAMA, "reference")
        greedy = read_json(reference, "greedy.json")["tokens"]
        prompts = self.write_lines("in.jsonl", [{"id": "a", "tokens": read_json(reference, "tokens.json"),
                                                 "max_new_tokens": len(greedy)}])
        for ours, onednn in CAPS:
            with self.cap(ours, onednn):
                output = self.path(f"{ours}.jsonl")
                self.assert_done(kvfold("run", "--model", LLAMA, "--prompts", prompts, "--output", output, ranks=2))
                self.assertEqual(read_json_lines(output)[0]["tokens"], greedy)


if __name__ == "__main__":
    main()
