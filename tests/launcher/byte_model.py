"""A fixture that reads text: a tokenizer of its vocabulary's size, one token a byte."""

import json
import os
import shutil

from launcher_case import MODELS


def alphabet():
    """Hugging Face's alphabet of byte-level BPE, by id here: printable bytes stand for themselves, the others come after U+0100."""
    letters = [*range(ord("!"), ord("~") + 1), *range(0xa1, 0xad), *range(0xae, 0x100)]
    return [chr(byte) for byte in letters] + [chr(0x100 + i) for i in range(256 - len(letters))]


def byte_model(folder, name="llama_gqa", ends=True):
    """A copy of the fixture in `folder`, whose path is returned; without `ends` it knows no end of text."""
    model = os.path.join(folder, "model")
    shutil.copytree(os.path.join(MODELS, name), model)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    with open(os.path.join(model, "tokenizer.json"), "w", encoding="utf-8") as file:
        json.dump({"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
                   "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
                   "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                             "vocab": {letter: i for i, letter in enumerate(alphabet())}, "merges": []}}, file)
    if not ends:
        path = os.path.join(model, "config.json")
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        del config["eos_token_id"]
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)
    return model
