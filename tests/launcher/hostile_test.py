"""Files made to mislead, through the executable: one sentence that names the file and what is wrong in it, exit code 2, in time."""

import json
import os
import shutil
import struct

from launcher_case import LLAMA, LauncherCase, kvfold, main, read_json

TOKENS = os.path.join(LLAMA, "reference", "tokens.json")


def read_safetensors(path):
    with open(path, "rb") as file:
        data = file.read()
    (header_bytes,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8:8 + header_bytes]), data[8 + header_bytes:]


def write_safetensors(path, header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


class Hostile(LauncherCase):
    def copy(self, name="model"):
        shutil.copytree(LLAMA, self.path(name))
        return self.path(name)

    def assert_score_refused(self, model, *words, ranks=None):
        self.assert_refused(kvfold("score", "--model", model, "--tokens", TOKENS, ranks=ranks), *words)

    def with_config(self, name, text):
        model = self.copy(name)
        self.write(os.path.join(name, "config.json"), text)
        return model

    def test_folder_without_config(self):
        model = self.copy()
        os.remove(os.path.join(model, "config.json"))
        self.assert_score_refused(model, "model", "config.json")
        self.assert_refused(kvfold("plan", "--model", model), "model", "config.json")

    def test_configs_that_are_none(self):
        right = read_json(LLAMA, "config.json")
        for name, text, word in [
                ("empty", "", "an empty file"), ("cut", json.dumps(right)[:-1], "not valid JSON"), ("list", "[]", "object"),
                ("deep", "[" * 100_000, "64 deep"), ("not_utf8", '{"model_type": "\udcff"}', "not valid JSON"),
                ("twice", json.dumps(right)[:-1] + ', "hidden_size": 64}', '"hidden_size" appears twice')]:
            model = self.copy(name)
            with open(os.path.join(model, "config.json"), "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)
            with self.subTest(name):
                self.assert_refused(kvfold("plan", "--model", model), "config.json", word)

    def test_fields_of_another_type_or_size(self):
        for key, value in [("hidden_size", "64"), ("hidden_size", 64.5), ("num_hidden_layers", -3), ("num_attention_heads", 10**18),
                           ("num_attention_heads", 2**63), ("vocab_size", None), ("rope_theta", []), ("rms_norm_eps", "small"),
                           ("eos_token_id", "</s>"), ("tie_word_embeddings", "no"), ("architectures", {}), ("head_dim", 3),
                           ("num_attention_heads", 4096), ("rope_scaling", {"rope_type": "llama3", "factor": 0})]:
            config = {**read_json(LLAMA, "config.json"), key: value}
            with self.subTest(key=key, value=value):
                model = self.path("config.json")
                self.write("config.json", json.dumps(config))
                named = {"rope_scaling": "factor", "num_attention_heads": "heads"}.get(key, key)
                self.assert_refused(kvfold("plan", "--model", model), "config.json", named)

    def test_impossible_ranks(self):
        for ranks in (5, 1 << 20):
            self.assert_refused(kvfold("plan", "--model", LLAMA, "--ranks", ranks), f"{ranks} ranks", "4")

    def test_plan_of_the_largest_shapes_ends(self):
        largest = {**read_json(LLAMA, "config.json"), "hidden_size": 1 << 20, "num_hidden_layers": 4096, "num_attention_heads": 1024,
                   "num_key_value_heads": 1024, "head_dim": 4096, "intermediate_size": 1 << 24, "vocab_size": 1 << 24}
        result = kvfold("plan", "--model", self.write("config.json", json.dumps(largest)), "--tokens", 1 << 40)
        self.assertEqual(result.code, 3, str(result))
        self.assertLess(result.seconds, 30.0, str(result))

    def test_safetensors_that_lie(self):
        header, data = read_safetensors(os.path.join(LLAMA, "model.safetensors"))
        header.pop("__metadata__", None)
        norm, embedding = "model.norm.weight", "model.embed_tokens.weight"
        without = {name: entry for name, entry in header.items() if name != norm}
        begin, end = header[norm]["data_offsets"]
        text = json.dumps(header)

        def changed(**fields):
            return {**header, norm: {**header[norm], **fields}}

        for name, lying, word in [
                ("missing", without, norm), ("no_tensors", {}, "has no tensor"), ("shape", changed(shape=[32, 2]), norm),
                ("overlap", changed(data_offsets=header[embedding]["data_offsets"][:1] + [header[embedding]["data_offsets"][0] + end - begin]),
                 "overlap"),
                ("beyond", changed(data_offsets=[len(data), len(data) + end - begin]), norm),
                ("overflow", changed(shape=[2**62, 2**62]), norm), ("huge_offset", changed(data_offsets=[2**63, 2**64 - 1]), norm),
                ("type", changed(dtype="F64"), norm), ("no_type", changed(dtype="Q9"), norm), ("list", [1], "JSON object"),
                ("twice", (text[:-1] + f', "{norm}": {json.dumps(header[norm])}' + "}").encode(), "appears twice"),
                ("half", text[:len(text) // 2].encode(), "not valid JSON")]:
            with self.subTest(name):
                model = self.copy(name)
                write_safetensors(os.path.join(model, "model.safetensors"), lying, data)
                self.assert_score_refused(model, name, word, ranks=2 if name == "missing" else None)

    def test_gguf_that_lies(self):
        with open(LLAMA + "_gguf/model.gguf", "rb") as file:
            right = file.read()
        key = right.index(b"general.architecture")
        for name, place, lie, word in [
                ("magic", 0, b"GGML", "not a GGUF file"), ("version", 4, struct.pack("<I", 9), "version 9"),
                ("endian", 4, struct.pack(">I", 3), "big-endian"), ("tensors", 8, struct.pack("<Q", 2**64 - 1), "tensor count"),
                ("values", 16, struct.pack("<Q", 2**63), "metadata count"), ("key_bytes", 24, struct.pack("<Q", 2**64 - 1), "key"),
                ("value_type", key + 20, struct.pack("<I", 13), "value type 13"),
                ("string_bytes", key + 24, struct.pack("<Q", 2**40), "general.architecture")]:
            with self.subTest(name):
                path = self.path(name + ".gguf")
                with open(path, "wb") as file:
                    file.write(right[:place] + lie + right[place + len(lie):])
                for command in (["plan"], ["score", "--tokens", TOKENS]):
                    self.assert_refused(kvfold(*command, "--model", path), name + ".gguf", word)

    def test_tokenizers_that_lie(self):
        vocabulary = {"type": "BPE", "vocab": {"a": 0}, "merges": []}
        right = {"decoder": {"type": "ByteLevel"}, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False}, "model": vocabulary}
        self.assertEqual(kvfold("tokenize", "--model", self.write("tokenizer.json", json.dumps(right)), "--text", "aa").stdout, "[0,0]\n")
        for text, word in [
                ("", "an empty file"), ("[" * 1_000_000, "64 deep"), ("[]", "object"),
                (json.dumps(right).replace('"a": 0', '"a": 0, "a": 1'), "appears twice"),
                (json.dumps({**right, "model": {**vocabulary, "vocab": {"a": 16_000_000}}}), "16000000"),
                (json.dumps({**right, "model": {**vocabulary, "merges": ["a b"]}}), "merge 0")]:
            with self.subTest(text[:40]):
                self.assert_refused(kvfold("tokenize", "--model", self.write("tokenizer.json", text), "--text", "a"), "tokenizer.json", word)

    def test_token_files_that_lie(self):
        for text, word in [("[1, [" + "[" * 3_000_000 + "]" * 3_000_000 + "]]", "element 1"), ("[18446744073709551615]", "element 0")]:
            self.assert_refused(kvfold("score", "--model", LLAMA, "--tokens", self.write("tokens.json", text)), "tokens.json", word)


if __name__ == "__main__":
    main()
