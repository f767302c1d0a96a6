"""Models that cannot be run: one sentence, exit code 2, no rank left, plainly and under mpirun."""

import json
import os
import shutil
import struct
import time

from launcher_case import LLAMA, LauncherCase, kvfold, long, main, running_with

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

    @long
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

    def test_a_gguf_file_of_any_name_runs(self):
        for name in ("sha256-9f86d081", "MODEL.GGUF"):
            path = self.path(name)
            shutil.copy(LLAMA + "_gguf/model.gguf", path)
            self.assert_done(kvfold("score", "--model", path, "--tokens", TOKENS))
            self.assert_refused(kvfold("tokenize", "--model", path, "--text", "a"), name, "tokenizer.ggml.merges")

    def test_kinds_of_files_are_named(self):
        kinds = {"a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n",
                 "a zip archive": b"PK\3\4" + bytes(20_000_000), "a ggjt file": b"tjgg\3\0\0\0" + bytes(4000),
                 "a web page": b"<html>", "an empty file": b""}
        path = self.path("model")
        for word, content in kinds.items():
            with self.subTest(kind=word):
                with open(path, "wb") as file:
                    file.write(content)
                for command in (["score", "--tokens", TOKENS], ["run", "--prompt", "a"], ["plan"], ["tokenize", "--text", "a"]):
                    self.assert_refused(kvfold(*command, "--model", path), path, word, "or a .gguf file")
                model = self.copy("folder_of_" + word.replace(" ", "_"))
                shutil.copy(path, os.path.join(model, "model.safetensors"))
                for command in (["score", "--tokens", TOKENS], ["plan"]):
                    self.assert_refused(kvfold(*command, "--model", model), "model.safetensors: " + word)

    def test_a_file_of_the_folder_names_the_folder(self):
        model = self.copy()
        for name in ("model.safetensors", "config.json"):
            result = kvfold("score", "--model", os.path.join(model, name), "--tokens", TOKENS)
            self.assert_refused(result, name, "the folder that holds it beside its", model)

    def test_all_refusals_at_once(self):
        model = self.copy(colour="green", mlp_bias=True, hidden_act="gelu")
        self.assert_refused(kvfold("score", "--model", model, "--tokens", TOKENS), "hidden_act", "colour", "mlp_bias",
                            "--ignore-config colour mlp_bias")
        model = self.copy("harmless", colour={}, auto_map={"a": "b"}, pruned_heads={}, neftune_noise_alpha=5)
        self.assert_done(kvfold("score", "--model", model, "--tokens", TOKENS))
        model = self.copy("ignored", colour="green", mlp_bias=True)
        self.assert_done(kvfold("score", "--model", model, "--tokens", TOKENS, "--ignore-config", "colour", "mlp_bias"))

    def test_tokens_beyond_the_vocabulary(self):
        model = self.copy()
        with open(os.path.join(model, "generation_config.json"), "w", encoding="utf-8") as file:
            json.dump({"eos_token_id": [2, 128009]}, file)
        for ranks in (None, 2):
            result = kvfold("score", "--model", model, "--tokens", TOKENS, ranks=ranks)
            self.assertEqual(result.code, 0, str(result))
            self.assertEqual(result.stderr.count("eos_token_id is 128009"), 1, str(result))
            self.assertIn("generation_config.json: eos_token_id is 128009, beyond", result.stderr)

    def rename(self, model, rename, add=None):
        """The tensors of a folder under other names; `add`: a name that gets the bytes of the final norm."""
        path = os.path.join(model, "model.safetensors")
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
            data = file.read()
        renamed = {rename(name): entry for name, entry in header.items() if name != "__metadata__"}
        if add:
            data += data[slice(*header["model.norm.weight"]["data_offsets"])]
            renamed[add] = dict(header["model.norm.weight"])
            size = renamed[add]["data_offsets"][1] - renamed[add]["data_offsets"][0]
            renamed[add]["data_offsets"] = [len(data) - size, len(data)]
        head = json.dumps(renamed).encode()
        with open(path, "wb") as file:
            file.write(struct.pack("<Q", len(head)) + head + data)

    def test_names_that_begin_otherwise(self):
        want = json.loads(kvfold("score", "--model", LLAMA, "--tokens", TOKENS, "--json", "--dtype", "f32").stdout)["nll"]
        for name, begin in (("wrapped", "language_model."), ("bare", "")):
            model = self.copy(name)
            self.rename(model, lambda tensor: begin + tensor if begin or not tensor.startswith("model.") else tensor[6:])
            result = kvfold("score", "--model", model, "--tokens", TOKENS, "--json", "--dtype", "f32", ranks=2 if begin else None)
            self.assert_done(result)
            self.assertAlmostEqual(json.loads(result.stdout)["nll"], want, delta=1e-6)

    def test_tensors_that_nothing_accounts_for(self):
        model = self.copy()
        name = "model.layers.0.self_attn.q_norm.weight"
        self.rename(model, lambda tensor: tensor, add=name)
        self.assert_refused_everywhere(model, name, "not supported", ranks=(2,))
        self.assert_refused(kvfold("plan", "--model", model), name, "not supported")
        self.assert_done(kvfold("score", "--model", model, "--tokens", TOKENS, "--ignore-config", name))
        other = self.copy("other")
        self.rename(other, lambda tensor: tensor, add="vision_tower.layers.0.q_norm.weight")
        self.assert_done(kvfold("score", "--model", other, "--tokens", TOKENS))

    @long
    def test_missing_weights(self):
        model = self.copy()
        os.remove(os.path.join(model, "model.safetensors"))
        self.assert_refused_everywhere(model, "safetensors", ranks=(None, 2))

    @long
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

    @long
    def test_config_of_other_shapes(self):
        self.assert_refused_everywhere(self.copy("wide", hidden_size=128), "wide", "embed_tokens", "256, 128", ranks=(None, 2))
        self.assert_refused_everywhere(self.copy("odd", num_key_value_heads=3), "num_key_value_heads", ranks=(None,))

    @long
    def test_more_ranks_than_heads(self):
        for command in (["score", "--tokens", TOKENS], ["run", "--prompt", "a"]):
            result = kvfold(*command, "--model", LLAMA, ranks=5)
            self.assert_refused(result, "5 ranks", "largest possible number of ranks is 4")
        self.assert_done(kvfold("score", "--tokens", TOKENS, "--model", LLAMA, ranks=4))

    def test_json_slips_are_named_with_their_place(self):
        with open(os.path.join(LLAMA, "config.json"), encoding="utf-8") as file:
            text = file.read().strip()
        model = self.copy()
        for name, slip, words in [
                ("comma", text[:-1].rstrip() + ",\n}", ["line", "column 1", "expected a key"]),
                ("comment", text.replace("{", "{ // mine\n", 1), ["line 1, column 3", "no comments"]),
                ("nan", text.replace("{", '{"a": NaN,', 1), ["line 1, column 7", "NaN"]),
                ("single", text.replace('"', "'"), ["line 2", "double quotes"]),
                ("escape", text.replace("{", '{"\x1b[31m\u202e": 1,', 1), ["line 1, column 3", "U+001B"]),
                ("utf16", text.encode("utf-16"), ["UTF-16", "expected UTF-8"])]:
            data = slip if isinstance(slip, bytes) else slip.encode()
            for file, command in (("config.json", ["plan"]), ("tokenizer.json", ["tokenize", "--text", "a"])):
                with self.subTest(name=name, file=file):
                    shutil.copy(os.path.join(LLAMA, "config.json"), os.path.join(model, "config.json"))
                    self.write_bytes(f"model/{file}", data)
                    result = kvfold(*command, "--model", model)
                    self.assert_refused(result, file, *words)
                    self.assert_printable(result)

    @long
    def test_foreign_names_cannot_obey_the_terminal(self):
        name = self.path("m\x1b[31m\u202e\u009b\n\udcff")  # the last one is a byte that is no UTF-8
        for ranks in (None, 2):
            result = kvfold("score", "--model", name, "--tokens", TOKENS, ranks=ranks)
            if ranks is None:  # mpirun says its own of the command line
                self.assert_printable(result)
            self.assert_refused(result, "\\u{1b}[31m\\u{202e}\\u{9b}\\n\\x{ff}")
            self.assertNotIn("\x1b", result.stderr)
        for arguments in (["run", "--model", LLAMA, "--prompt-file", name], ["run", "--model", LLAMA, "--chunk", "\x1b[31m"],
                          ["run", "--model", LLAMA, "--prompt", "a", "--\x1b\udcff"], ["\x1b[31m"], ["plan", "--model", LLAMA, "--device-memory", "\x1b"],
                          ["run", "--model", LLAMA, "--prompt", "a", "--document", name]):
            result = kvfold(*arguments)
            self.assert_refused(result)
            self.assert_printable(result)

    def test_standard_input_is_read_once(self):
        for arguments in (["--prompt-file", "-", "--document", "-"],):
            for ranks in (None, 2):
                self.assert_refused(kvfold("run", "--model", LLAMA, *arguments, stdin="x", ranks=ranks), "--prompt-file", "--document",
                                    "standard input")

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

    @long
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

    @long
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
