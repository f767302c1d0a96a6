"""Models that cannot be run: one sentence, exit code 2, no rank left, plainly and under mpirun."""

import json
import os
import shutil
import time

from launcher_case import LLAMA, LauncherCase, kvfold, main, running_with

TOKENS = os.path.join(LLAMA, "reference", "tokens.json")


class Refusal(LauncherCase):
    def copy(self, name="model", **config):
        """A copy of the fixture, its config changed; the folder's name is unique to this test."""
        folder = self.path(name)
        shutil.copytree(LLAMA, folder)
        if config:
            with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
                keys = json.load(file)
            with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
                json.dump({**keys, **config}, file)
        return folder

    def assert_nobody_left(self, word):
        deadline = time.monotonic() + 5.0  # mpirun has ended; what it ended may take a moment
        while running_with(word) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(running_with(word), [])

    def assert_refused_everywhere(self, model, *words, ranks=(None, 2, 3)):
        for n in ranks:
            with self.subTest(ranks=n):
                result = kvfold("score", "--model", model, "--tokens", TOKENS, ranks=n)
                self.assert_refused(result, *words)
                self.assertNotIn("rank 0:", result.sentences[0])  # all ranks fare alike
                self.assert_nobody_left(self.folder)

    def test_wrong_path(self):
        missing = self.path("nothing")
        self.assert_refused_everywhere(missing, missing)
        self.assert_refused(kvfold("run", "--model", missing, "--prompt", "a", ranks=2), missing)

    def test_empty_folder(self):
        os.mkdir(self.path("empty"))
        self.assert_refused_everywhere(self.path("empty"), "empty", "config.json")

    def test_file_that_is_no_model(self):
        self.assert_refused_everywhere(self.write("model.gguf", "a letter to a friend"), "model.gguf", ranks=(None, 2))
        self.assert_refused_everywhere(self.write("model.txt", "a letter to a friend"), "model.txt", ranks=(None,))

    def test_truncated_safetensors(self):
        model = self.copy()
        file = os.path.join(model, "model.safetensors")
        size = os.path.getsize(file)
        for length in (size - 1, size // 2, 100, 8, 7, 0):
            os.truncate(file, length)
            self.assert_refused_everywhere(model, "model.safetensors", ranks=(2,) if length == size // 2 else (None,))

    def test_truncated_gguf(self):
        path = self.path("model.gguf")
        shutil.copy(LLAMA + "_gguf/model.gguf", path)
        size = os.path.getsize(path)
        for length in (size - 1, size // 2, 1000, 24, 3, 0):
            os.truncate(path, length)
            self.assert_refused_everywhere(path, "model.gguf", ranks=(2,) if length == size // 2 else (None,))

    def test_missing_weights(self):
        model = self.copy()
        os.remove(os.path.join(model, "model.safetensors"))
        self.assert_refused_everywhere(model, "safetensors", ranks=(None, 2))

    def test_unknown_architecture(self):
        self.assert_refused_everywhere(self.copy(architectures=["MambaForCausalLM"], model_type="mamba"), "amba")

    def test_unsupported_switches(self):
        for key, value in [("hidden_act", "gelu"), ("attn_logit_softcapping", 50.0), ("mlp_bias", True),
                           ("rope_scaling", {"rope_type": "yarn", "factor": 4.0}), ("colour", "green"),
                           ("quantization_config", {"quant_method": "gptq"})]:
            with self.subTest(key=key):
                word = "yarn" if key == "rope_scaling" else key
                model = self.copy(f"model_{key}", **{key: value})
                self.assert_refused_everywhere(model, "config.json", word, ranks=(2,) if key == "colour" else (None,))

    def test_ignored_key_runs(self):
        model = self.copy(colour="green")
        self.assert_done(kvfold("score", "--model", model, "--tokens", TOKENS, "--ignore-config", "colour"))

    def test_config_of_other_shapes(self):
        self.assert_refused_everywhere(self.copy("wide", hidden_size=128), "wide", "embed_tokens", "256, 128", ranks=(None, 2))
        self.assert_refused_everywhere(self.copy("odd", num_key_value_heads=3), "num_key_value_heads", ranks=(None,))

    def test_more_ranks_than_heads(self):
        for command in (["score", "--tokens", TOKENS], ["run", "--prompt", "a"]):
            result = kvfold(*command, "--model", LLAMA, ranks=5)
            self.assert_refused(result, "5 ranks", "largest possible number of ranks is 4")
        self.assert_done(kvfold("score", "--tokens", TOKENS, "--model", LLAMA, ranks=4))

    def test_model_that_one_rank_cannot_read(self):
        model = self.copy()
        script = f'if [ $RANK = 1 ]; then MODEL={self.path("elsewhere")}; else MODEL={model}; fi\n' \
                 f'exec "$KVFOLD" score --model $MODEL --tokens {TOKENS}'
        for ranks in (2, 3):
            self.assert_refused(self.start_wrapper(script, ranks=ranks), "rank 1: ", self.path("elsewhere"))
            self.assert_nobody_left(self.folder)

    def test_model_that_is_torn_on_one_rank(self):
        model = self.copy()
        torn = self.copy("torn")
        os.truncate(os.path.join(torn, "model.safetensors"), 1000)
        script = f'if [ $RANK = 2 ]; then MODEL={torn}; else MODEL={model}; fi\n' \
                 f'exec "$KVFOLD" score --model $MODEL --tokens {TOKENS}'
        self.assert_refused(self.start_wrapper(script, ranks=3), "rank 2: ", "torn")

    def test_another_model_on_one_rank(self):
        model = self.copy()
        other = self.copy("other")
        with open(os.path.join(other, "model.safetensors"), "r+b") as file:
            file.seek(-4, os.SEEK_END)
            file.write(b"\0\0\0\0")
        script = f'if [ $RANK = 1 ]; then MODEL={other}; else MODEL={model}; fi\n' \
                 f'exec "$KVFOLD" score --model $MODEL --tokens {TOKENS}'
        self.assert_refused(self.start_wrapper(script, ranks=2), "rank 1", "model")

    def test_other_options_on_one_rank(self):
        has_bf16 = "_bf16" in kvfold("info").stdout
        for option, one, other in [("--chunk", 7, 8), ("--dtype", "f32", "bf16"), ("--kv-dtype", "f32", "int8"),
                                   ("--attention", "fold", "full"), ("--max-tokens", 180, 181)]:
            with self.subTest(option=option):
                script = f'if [ $RANK = 1 ]; then VALUE={other}; else VALUE={one}; fi\n' \
                         f'exec "$KVFOLD" score --model {LLAMA} --tokens {TOKENS} {option} $VALUE'
                result = self.start_wrapper(script, ranks=2)
                if option == "--dtype" and not has_bf16:  # which rank 1 then refuses before anything is compared
                    self.assert_refused(result, "rank 1", "bf16")
                else:
                    self.assert_refused(result, "rank 1", "rank 0", str(one), str(other))

    def test_another_command_on_one_rank(self):
        script = f'if [ $RANK = 1 ]; then exec "$KVFOLD" run --model {LLAMA} --prompt a; fi\n' \
                 f'exec "$KVFOLD" score --model {LLAMA} --tokens {TOKENS}'
        self.assert_refused(self.start_wrapper(script, ranks=2), "rank 1", "run", "score")

    def test_input_that_only_rank_0_reads(self):
        script = f'if [ $RANK = 1 ]; then FILE=/no/such; else FILE={TOKENS}; fi\n' \
                 f'exec "$KVFOLD" score --model {LLAMA} --tokens $FILE'
        self.assert_done(self.start_wrapper(script, ranks=2))

    def test_cache_that_does_not_fit(self):
        for ranks in (None, 2):
            result = kvfold("score", "--model", LLAMA, "--tokens", TOKENS, "--max-tokens", 1 << 40, ranks=ranks)
            self.assert_refused(result, "bytes", code=3)


if __name__ == "__main__":
    main()
