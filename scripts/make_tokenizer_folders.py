#!/usr/bin/env python3
"""Makes tests/fixtures/tokenizer/folders.json: folders whose added tokens stand in several files, and what transformers makes of them.

    python3 -m venv ~/.cache/kvfold/reference
    ~/.cache/kvfold/reference/bin/pip install transformers==5.24.0 tokenizers==0.23.3
    ~/.cache/kvfold/reference/bin/python scripts/make_tokenizer_folders.py

Every folder has the same vocabulary (the 256 bytes and a few merges). A case lists the added tokens of its tokenizer.json, its other
files, and for each text the ids that AutoTokenizer gives it and their text without special tokens.
"""

import json
import pathlib
import tempfile

from transformers import AutoTokenizer

PATH = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "tokenizer" / "folders.json"
MERGES = ["h e", "l l", "he ll", "hell o", "w o", "r l", "rl d", "wo rld", "\u0120 world"]
TEXTS = [
    "x <|a|> y<|b|> z <|c|>!",
    "<|a|><|b|><|c|><|d|><|e|>",
    "x<|endoftext|>y<|padding|>",
    " hello hello\n<|a|>  hellohello world <|d|> \u00e9<|e|>\u00e9",
]


def byte_alphabet():
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {b: chr(b) for b in shown}
    hidden = [b for b in range(256) if b not in letters]
    letters.update({b: chr(256 + i) for i, b in enumerate(hidden)})
    return [letters[b] for b in range(256)]


def tokenizer_json(added_tokens):
    vocabulary = {letter: i for i, letter in enumerate(byte_alphabet())}
    for merge in MERGES:
        vocabulary[merge.replace(" ", "")] = len(vocabulary)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": False, "byte_fallback": False, "vocab": vocabulary, "merges": MERGES}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added_tokens, "normalizer": None,
            "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level, "model": model}


N = 256 + len(MERGES)


def flags(content, **changes):
    return {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True, **changes}


def added(content, at=0, **changes):
    return {"id": N + at, **flags(content, **changes)}


def decoder(*tokens):
    return {str(token["id"]): {k: v for k, v in token.items() if k != "id"} for token in tokens}


def typed(content, **changes):
    return {"__type": "AddedToken", **flags(content, **changes)}


A, B, C = "<|a|>", "<|b|>", "<|c|>"
FIRST = [added(A)]


def case(name, tokens=None, config=None, special_map=None, ids=None, model=None):
    files = {"tokenizer_config.json": config, "special_tokens_map.json": special_map, "added_tokens.json": ids, "config.json": model}
    return name, FIRST if tokens is None else tokens, {k: v for k, v in files.items() if v is not None}


def cases():
    yield case("alone")
    yield case("twice", [added(A), added(A)])
    yield case("twice_other_flags", [added(A), added(A, lstrip=True, special=False)])
    yield case("a_field_more", [{**added(A), "comment": "x"}], {"added_tokens_decoder": decoder(added(A))})
    yield case("decoder", None, {"added_tokens_decoder": decoder(added(C, 2), added(A), added(B, 1))})
    yield case("decoder_lacks_one", [added(A), added(B, 1)], {"added_tokens_decoder": decoder(added(A))})
    yield case("decoder_is_empty", None, {"added_tokens_decoder": {}, "eos_token": B})
    for flag in ("lstrip", "rstrip", "single_word", "normalized"):
        yield case(f"decoder_says_{flag}", None, {"added_tokens_decoder": decoder(added(A, **{flag: True}))})
        yield case(f"json_says_{flag}", [added(A, **{flag: True})], {"added_tokens_decoder": decoder(added(A))})
        yield case(f"both_ways_{flag}", [added(A, **{flag: True})], {"eos_token": A})
    yield case("decoder_says_special", [added(A, special=False)], {"added_tokens_decoder": decoder(added(A))})
    yield case("decoder_says_not_special", None, {"added_tokens_decoder": decoder(added(A, special=False))})
    yield case("decoder_few_fields", None, {"added_tokens_decoder": {str(N + 1): {"content": B}, str(N + 2): {"content": C, "special": True}}})
    yield case("decoder_of_a_word", None, {"added_tokens_decoder": {"259": flags("hello", special=False), str(N): flags(A)}})
    yield case("decoder_of_a_word_alone", None, {"added_tokens_decoder": {"259": flags("hello", single_word=True)}})
    yield case("eos", None, {"eos_token": B})
    yield case("eos_is_a_word", None, {"eos_token": "hello"})
    yield case("eos_typed", None, {"eos_token": typed(B, lstrip=True)})
    yield case("eos_typed_few_fields", None, {"eos_token": {"__type": "AddedToken", "content": B}})
    yield case("eos_typed_not_special", None, {"eos_token": typed(B, special=False)})
    yield case("eos_null", None, {"eos_token": None, "pad_token": None})
    yield case("eos_not_special_in_decoder", None, {"eos_token": B, "added_tokens_decoder": decoder(added(B, 1, special=False))})
    yield case("eos_not_special_in_json", [added(A, special=False)], {"eos_token": A})
    yield case("eos_not_special_beside_decoder", [added(A, special=False), added(B, 1)], {"eos_token": A, "added_tokens_decoder": decoder(added(B, 1))})
    yield case("all_names", None, {"mask_token": "<|e|>", "cls_token": "<|d|>", "eos_token": C, "bos_token": B, "unk_token": A})
    yield case("several_names_of_one", None, {"bos_token": B, "eos_token": B, "pad_token": B, "unk_token": A})
    yield case("additional", None, {"additional_special_tokens": [C, B]})
    yield case("additional_typed", None, {"additional_special_tokens": [typed(B, rstrip=True), C]})
    yield case("additional_and_names", None, {"additional_special_tokens": [C, B], "eos_token": B, "bos_token": "<|d|>"})
    yield case("extra_named", None, {"extra_special_tokens": {"z_token": C, "a_token": B}})
    yield case("extra_list", None, {"extra_special_tokens": [B], "additional_special_tokens": [C]})
    yield case("extra_empty", None, {"extra_special_tokens": {}, "additional_special_tokens": [C]})
    yield case("extra_named_and_additional", None, {"extra_special_tokens": {"z_token": C}, "additional_special_tokens": [B]})
    yield case("a_name_of_its_own", None, {"image_token": B, "eos_token": C, "boi_token": "<|d|>", "add_bos_token": True})
    yield case("a_typed_name_of_its_own", None, {"image_token": B, "boi_token": typed(C)})
    yield case("map", None, None, {"eos_token": B, "additional_special_tokens": [C]})
    yield case("map_of_objects", None, {"model_max_length": 10}, {"eos_token": flags(B, lstrip=True), "pad_token": {"content": C}})
    yield case("map_beside_decoder", None, {"added_tokens_decoder": decoder(added(A))}, {"eos_token": B})
    yield case("map_over_config", None, {"eos_token": C, "bos_token": "<|d|>"}, {"eos_token": B, "bos_token": None})
    yield case("map_and_additional", None, {"additional_special_tokens": [C]}, {"additional_special_tokens": [B]})
    yield case("map_extra_list", None, {"extra_special_tokens": [C]}, {"extra_special_tokens": [B, {"content": "<|d|>", "lstrip": True}]})
    yield case("ids", None, None, None, {B: N + 1, C: N + 2})
    yield case("ids_of_names", None, {"eos_token": C}, None, {B: N + 1, C: N + 2})
    yield case("ids_of_the_map", None, None, {"eos_token": B, "additional_special_tokens": [C]}, {B: N + 1, C: N + 2})
    yield case("ids_beside_decoder", None, {"added_tokens_decoder": decoder(added(A))}, None, {B: N + 1})
    yield case("ids_known", None, None, None, {A: N})
    yield case("ids_known_in_any_order", [added(A), added(B, 1, special=False)], None, {"eos_token": B}, {C: N + 2, B: N + 1, A: N})
    for name in ("PreTrainedTokenizerFast", "TokenizersBackend", "LlamaTokenizerFast", "LlamaTokenizer"):
        config = {"tokenizer_class": name, "add_bos_token": True, "add_eos_token": True, "bos_token": A, "eos_token": B,
                  "add_prefix_space": True, "clean_up_tokenization_spaces": True}
        yield case(f"class_{name}", None, config)
    yield case("class_GPT2Tokenizer", None, {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False, "bos_token": A, "eos_token": A, "unk_token": A})
    for name in ("GPT2Tokenizer", "GPT2TokenizerFast", "Qwen2TokenizerFast", "GPTNeoXTokenizerFast", "CodeGenTokenizer"):
        yield case(f"names_of_{name}", None, {"tokenizer_class": name})
        yield case(f"names_of_{name}_given", None, {"tokenizer_class": name, "bos_token": None, "unk_token": B, "eos_token": C, "pad_token": None})
    yield case("names_of_qwen2", None, {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": A}, model={"model_type": "qwen2"})
    yield case("model_mistral", None, {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True, "eos_token": A}, model={"model_type": "mistral"})


def expected(tokens, files):
    with tempfile.TemporaryDirectory() as folder:
        every = {"config.json": {"model_type": "llama"}, **files, "tokenizer.json": tokenizer_json(tokens)}
        for name, content in every.items():
            (pathlib.Path(folder) / name).write_text(json.dumps(content))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        for text in TEXTS:
            ids = tokenizer(text)["input_ids"]
            yield {"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=True)}


def main():
    done = []
    for name, tokens, files in cases():
        done.append({"name": name, "added_tokens": tokens, "files": files, "texts": list(expected(tokens, files))})
    lines = ",\n".join("  " + json.dumps(item) for item in done)
    PATH.write_text('{\n "tokenizer.json": ' + json.dumps(tokenizer_json([])) + ',\n "cases": [\n' + lines + "\n ]\n}\n")
    print(f"{len(done)} folders, {PATH.stat().st_size} bytes")


if __name__ == "__main__":
    main()
