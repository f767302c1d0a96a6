#!/usr/bin/env python3
"""Makes a Hugging Face tokenizer.json from the tiktoken vocabulary of Llama 3.

    python3 scripts/tiktoken_to_tokenizer_json.py tokenizer.model tokenizer.json

Meta's own distributions of Llama 3, 3.1, 3.2 and 3.3 carry a `tokenizer.model`: one line a token, its bytes in base64 and its
rank. kvfold reads tokenizer.json, so this writes one that encodes the same, with the 256 special tokens by the names of Llama
3.1 (those of 3.2 and 3.3 too). The PyPI package `llama-models` has the vocabulary at llama_models/llama3/tokenizer.model.

A tiktoken vocabulary has no list of merges: two neighbours may merge where together they are a token, the lowest rank first. So the
merges are, for every token in order of rank, all its cuts into two tokens. Standard library only; takes a few seconds.
"""

import argparse
import base64
import binascii
import json
import sys

REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
N_SPECIAL = 256
NAMED_SPECIAL = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>",
    "<|reserved_special_token_2|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
]


def byte_alphabet():
    """The printable character for each byte: bytes_to_unicode() of GPT-2."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


def read_ranks(path):
    """{token bytes: rank}, ranks 0 .. n-1 in the file's order."""
    ranks = {}
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                encoded, rank = line.split()
                token, rank = base64.b64decode(encoded, validate=True), int(rank)
            except (ValueError, binascii.Error):
                sys.exit(f"{path}: line {number} is not a token in base64 and its rank")
            if rank != len(ranks) or token in ranks:
                sys.exit(f"{path}: line {number} has rank {rank}, expected a new token of rank {len(ranks)}")
            ranks[token] = rank
    if any(bytes([b]) not in ranks for b in range(256)):
        sys.exit(f"{path}: a byte has no token, so this is no byte-level vocabulary")
    return ranks


def find_merges(ranks):
    """All pairs of tokens that make a token, by its rank; of one token by the ranks of its parts."""
    merges = []
    for token in ranks:
        cuts = ((token[:i], token[i:]) for i in range(1, len(token)))
        parts = [(ranks[a], ranks[b], a, b) for a, b in cuts if a in ranks and b in ranks]
        merges += [(a, b) for _, _, a, b in sorted(parts)]
    return merges


def special_names():
    n_reserved = N_SPECIAL - len(NAMED_SPECIAL)
    return NAMED_SPECIAL + [f"<|reserved_special_token_{3 + i}|>" for i in range(n_reserved)]


def tokenizer_json(ranks):
    alphabet = byte_alphabet()

    def text(token):
        return "".join(alphabet[b] for b in token)

    bos = NAMED_SPECIAL[0]
    sequence = [{"Sequence": {"id": "A", "type_id": 0}}]
    pair = [{"Sequence": {"id": "B", "type_id": 1}}]
    begin, begin_pair = ([{"SpecialToken": {"id": bos, "type_id": i}}] for i in (0, 1))
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": len(ranks) + i,
                "content": name,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for i, name in enumerate(special_names())
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": REGEX}, "behavior": "Isolated", "invert": False},
                byte_level | {"use_regex": False},
            ],
        },
        "post_processor": {
            "type": "Sequence",
            "processors": [
                byte_level | {"trim_offsets": False, "use_regex": True},
                {
                    "type": "TemplateProcessing",
                    "single": begin + sequence,
                    "pair": begin + sequence + begin_pair + pair,
                    "special_tokens": {bos: {"id": bos, "ids": [len(ranks)], "tokens": [bos]}},
                },
            ],
        },
        "decoder": byte_level | {"add_prefix_space": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,
            "vocab": {text(token): rank for token, rank in ranks.items()},
            "merges": [f"{text(a)} {text(b)}" for a, b in find_merges(ranks)],
        },
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vocabulary", help="tiktoken vocabulary of Llama 3, usually tokenizer.model")
    parser.add_argument("output", help="tokenizer.json to write")
    arguments = parser.parse_args()
    whole = tokenizer_json(read_ranks(arguments.vocabulary))
    with open(arguments.output, "w", encoding="utf-8") as file:
        json.dump(whole, file, ensure_ascii=False, indent=1)
        file.write("\n")
    print(f"{arguments.output}: {len(whole['model']['vocab'])} tokens, {len(whole['model']['merges'])} merges")


if __name__ == "__main__":
    main()
