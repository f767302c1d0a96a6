#!/usr/bin/env python3
"""Makes a Hugging Face tokenizer.json from a tiktoken vocabulary: Llama 3's, Qwen 2.5's, or Mistral's tekken.json.

    python3 scripts/tiktoken_to_tokenizer_json.py tokenizer.model tokenizer.json
    python3 scripts/tiktoken_to_tokenizer_json.py --family qwen2 qwen.tiktoken tokenizer.json
    python3 scripts/tiktoken_to_tokenizer_json.py --family tekken tekken.json tokenizer.json

A tiktoken vocabulary has one line a token, its bytes in base64 and its rank; tekken.json has the same as JSON. kvfold reads
tokenizer.json, so this writes one that encodes the same, with the special tokens of

    llama3   Llama 3.1 (those of 3.2 and 3.3 too). Meta's distributions of Llama 3 carry the vocabulary as `tokenizer.model`; the
             PyPI package `llama-models` has it at llama_models/llama3/tokenizer.model
    qwen2    Qwen 2.5. The PyPI package `dashscope` has the vocabulary at dashscope/resources/qwen.tiktoken
    tekken   Mistral's tokenizers v3 and v7 (Nemo and later), which stand before the vocabulary. The PyPI package
             `mistral-common` has such files at mistral_common/data/tekken_*.json

A tiktoken vocabulary has no list of merges: two neighbours may merge where together they are a token, the lowest rank first. So the
merges are, for every token in order of rank, all its cuts into two tokens. Standard library only; takes a few seconds.
"""

import argparse
import base64
import binascii
import dataclasses
import json
import os
import sys

LLAMA3_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_REGEX = LLAMA3_REGEX.replace(r"\p{N}{1,3}", r"\p{N}")
LLAMA3_SPECIAL = [
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
    *(f"<|reserved_special_token_{i}|>" for i in range(3, 248)),
]
QWEN2_SPECIAL = [
    *(f"<|{name}|>" for name in ("endoftext", "im_start", "im_end", "object_ref_start", "object_ref_end", "box_start")),
    *(f"<|{name}|>" for name in ("box_end", "quad_start", "quad_end", "vision_start", "vision_end", "vision_pad")),
    *(f"<|{name}|>" for name in ("image_pad", "video_pad")),
]
# Found in a text as the others are, and kept in decoded text.
QWEN2_ADDED = [
    *("<tool_call>", "</tool_call>"),
    *(f"<|{name}|>" for name in ("fim_prefix", "fim_middle", "fim_suffix", "fim_pad", "repo_name", "file_sep")),
]
# Those of a tekken.json that lists none; the rest of the first thousand ids are <SPECIAL_20>, <SPECIAL_21>, ...
TEKKEN_SPECIAL = [
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]"),
    *("[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]"),
    *("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
]


@dataclasses.dataclass
class Family:
    """What a vocabulary leaves out of a tokenizer."""

    regex: str
    special: list  # tokens beside the vocabulary
    added: list  # those that decoded text keeps; their ids follow
    begin: str | None = None  # the token before every text
    special_first: bool = False  # whether they come before the vocabulary, and else behind it
    nfc: bool = False
    ignore_merges: bool = False


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


def read_tekken(path):
    """The ranks of a tekken.json, and its Family."""
    try:
        with open(path, encoding="utf-8") as file:
            whole = json.load(file)
        config = whole["config"]
        n_special = config["default_num_special_tokens"]
        n_ranks = config["default_vocab_size"] - n_special
        vocabulary = whole["vocab"][:n_ranks]
        ranks = {base64.b64decode(token["token_bytes"], validate=True): token["rank"] for token in vocabulary}
        listed = [token["token_str"] for token in whole.get("special_tokens") or []] or TEKKEN_SPECIAL
        regex = config["pattern"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        sys.exit(f"{path} is no tekken.json: {type(error).__name__} {error}")
    if list(ranks.values()) != list(range(n_ranks)) or any(bytes([b]) not in ranks for b in range(256)):
        sys.exit(f"{path}: the vocabulary is not {n_ranks} tokens in order of rank, every byte among them")
    if len(listed) > n_special or len(set(listed)) != len(listed) or "<s>" not in listed:
        sys.exit(f"{path}: the special tokens are not at most {n_special} different ones, <s> among them")
    special = listed + [f"<SPECIAL_{i}>" for i in range(len(listed), n_special)]
    return ranks, Family(regex, special, [], begin="<s>", special_first=True, ignore_merges=True)


def read_vocabulary(family, path):
    if family == "tekken":
        return read_tekken(path)
    if family == "qwen2":
        return read_ranks(path), Family(QWEN2_REGEX, QWEN2_SPECIAL, QWEN2_ADDED, nfc=True)
    return read_ranks(path), Family(LLAMA3_REGEX, LLAMA3_SPECIAL, [], begin=LLAMA3_SPECIAL[0], ignore_merges=True)


def post_processor(begin, begin_id, byte_level):
    byte_level = byte_level | {"trim_offsets": False, "use_regex": True}
    if begin is None:
        return byte_level
    sequence = [{"Sequence": {"id": "A", "type_id": 0}}]
    pair = [{"Sequence": {"id": "B", "type_id": 1}}]
    before, before_pair = ([{"SpecialToken": {"id": begin, "type_id": i}}] for i in (0, 1))
    template = {
        "type": "TemplateProcessing",
        "single": before + sequence,
        "pair": before + sequence + before_pair + pair,
        "special_tokens": {begin: {"id": begin, "ids": [begin_id], "tokens": [begin]}},
    }
    return {"type": "Sequence", "processors": [byte_level, template]}


def tokenizer_json(ranks, family):
    alphabet = byte_alphabet()

    def text(token):
        return "".join(alphabet[b] for b in token)

    beside = family.special + family.added
    first_id, first_beside = (len(beside), 0) if family.special_first else (0, len(ranks))
    vocabulary = {text(token): first_id + rank for token, rank in ranks.items()}
    beside_ids = {name: first_beside + i for i, name in enumerate(beside)}
    if family.special_first:
        # A reader gives a token that is not in the vocabulary the next free id, which these do not have. A text never becomes a
        # token of the vocabulary that is spelled as one of these: it is taken for the special one before it is cut into words.
        vocabulary |= beside_ids
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": beside_ids[name],
                "content": name,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": name in family.special,
            }
            for name in beside
        ],
        "normalizer": {"type": "NFC"} if family.nfc else None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": family.regex}, "behavior": "Isolated", "invert": False},
                byte_level | {"use_regex": False},
            ],
        },
        "post_processor": post_processor(family.begin, beside_ids.get(family.begin), byte_level),
        "decoder": byte_level | {"add_prefix_space": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": family.ignore_merges,
            "vocab": vocabulary,
            "merges": [f"{text(a)} {text(b)}" for a, b in find_merges(ranks)],
        },
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=("llama3", "qwen2", "tekken"), default="llama3")
    parser.add_argument("vocabulary", help="tokenizer.model of Llama 3, qwen.tiktoken, or tekken.json")
    parser.add_argument("output", help="tokenizer.json to write")
    arguments = parser.parse_args()
    if os.path.exists(arguments.output) and os.path.samefile(arguments.vocabulary, arguments.output):
        parser.error(f"{arguments.output} is the vocabulary itself: name another file to write")
    whole = tokenizer_json(*read_vocabulary(arguments.family, arguments.vocabulary))
    with open(arguments.output, "w", encoding="utf-8") as file:
        json.dump(whole, file, ensure_ascii=False, indent=1)
        file.write("\n")
    print(f"{arguments.output}: {len(whole['model']['vocab'])} tokens, {len(whole['model']['merges'])} merges")


if __name__ == "__main__":
    main()
