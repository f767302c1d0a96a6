"""Files of few bits a weight: what score says of one is what it says of the same values as Q8_0, which has room for them all."""

import json
import pathlib
import random
import struct
import sys

from launcher_case import LauncherCase, kvfold, main, read_npy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fuzz"))
from make_seeds import ARRAY, F32, I32, STRING, U32, gguf  # noqa: E402

HIDDEN, HEADS, KV_HEADS, FFN = 256, 4, 2, 512  # three ranks cut both 256 and 512 columns inside a block of 256
ALPHABET = [chr(byte) for byte in (*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100))]
TOKENS = [*ALPHABET, *(chr(0x100 + i) for i in range(256 - len(ALPHABET))), "ab"]
TEXT = [(7 * i * i + 3 * i) % len(TOKENS) for i in range(40)]
GGML_TYPES = {"F32": 0, "Q8_0": 8, "Q2_K": 10, "Q3_K": 11, "IQ4_NL": 20, "IQ4_XS": 23, "TQ2_0": 35, "MXFP4": 39}

IQ4 = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]
FP4 = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]


def half(value):
    return struct.pack("<e", value)


def q8_0(scale, numbers):
    return half(scale) + struct.pack(f"<{len(numbers)}b", *numbers)


def table_run(table, draw):
    """16 bytes and the 32 numbers that they stand for."""
    stored = draw.randbytes(16)
    return stored, [table[byte & 15] for byte in stored] + [table[byte >> 4] for byte in stored]


def two_bits(numbers):
    """256 numbers of 0 to 3 in 64 bytes."""
    stored = bytearray(64)
    for i, number in enumerate(numbers):
        stored[i // 128 * 32 + i % 32] |= number << (2 * (i % 128 // 32))
    return bytes(stored)


def runs_of_q8_0(scales, numbers):
    return b"".join(q8_0(scale, numbers[32 * run:32 * run + 32]) for run, scale in enumerate(scales))


def iq4_nl(d, draw):
    runs = [table_run(IQ4, draw) for _ in range(8)]
    return b"".join(half(d) + stored for stored, _ in runs), b"".join(q8_0(d, numbers) for _, numbers in runs)


def mxfp4(d, draw):
    exponent = next(e for e in range(256) if 2.0 ** (e - 128) == d)
    runs = [table_run(FP4, draw) for _ in range(8)]
    return b"".join(bytes([exponent]) + stored for stored, _ in runs), b"".join(q8_0(d, numbers) for _, numbers in runs)


def iq4_xs(d, draw):
    scales = [draw.randrange(64) for _ in range(8)]
    runs = [table_run(IQ4, draw) for _ in range(8)]
    high = sum((scale >> 4) << (2 * run) for run, scale in enumerate(scales))
    low = bytes(scales[run] & 15 | (scales[run + 1] & 15) << 4 for run in range(0, 8, 2))
    stored = half(d) + struct.pack("<H", high) + low + b"".join(stored for stored, _ in runs)
    return stored, b"".join(q8_0(d * (scale - 32), numbers) for scale, (_, numbers) in zip(scales, runs))


def q2_k(d, draw):
    scales = [draw.randrange(8) for _ in range(8)]
    numbers = [draw.randrange(4) for _ in range(256)]
    # The minimum is twice the scale; Q8_0 has one scale where Q2_K has two.
    stored = bytes(scales[i // 2] | 2 * scales[i // 2] << 4 for i in range(16)) + two_bits(numbers) + half(d) + half(d)
    return stored, runs_of_q8_0([d * scale for scale in scales], [number - 2 for number in numbers])


def q3_k(d, draw):
    scales = [draw.randrange(64) for _ in range(8)]
    numbers = [draw.randrange(8) for _ in range(256)]
    upper, packed = bytearray(32), bytearray(12)
    for i, number in enumerate(numbers):
        upper[i % 32] |= (number >> 2) << (i // 32)
    for i in range(16):
        packed[i % 8] |= (scales[i // 2] & 15) << (i // 8 * 4)
        packed[8 + i % 4] |= (scales[i // 2] >> 4) << (i // 4 * 2)
    stored = bytes(upper) + two_bits([number & 3 for number in numbers]) + bytes(packed) + half(d)
    return stored, runs_of_q8_0([d * (scale - 32) for scale in scales], [number - 4 for number in numbers])


def tq2_0(d, draw):
    numbers = [draw.randrange(3) for _ in range(256)]
    return two_bits(numbers) + half(d), runs_of_q8_0([d] * 8, [number - 1 for number in numbers])


# GGUF name, rows, columns, type, what makes 256 elements of it, and its scale: values are around 1 / 16.
WEIGHTS = [
    ("token_embd.weight", len(TOKENS), HIDDEN, "Q2_K", q2_k, 2.0 ** -4),
    ("blk.0.attn_q.weight", HIDDEN, HIDDEN, "MXFP4", mxfp4, 2.0 ** -6),
    ("blk.0.attn_k.weight", HIDDEN // HEADS * KV_HEADS, HIDDEN, "IQ4_NL", iq4_nl, 2.0 ** -10),
    ("blk.0.attn_v.weight", HIDDEN // HEADS * KV_HEADS, HIDDEN, "TQ2_0", tq2_0, 2.0 ** -4),
    ("blk.0.attn_output.weight", HIDDEN, HIDDEN, "IQ4_XS", iq4_xs, 2.0 ** -14),
    ("blk.0.ffn_gate.weight", FFN, HIDDEN, "Q3_K", q3_k, 2.0 ** -9),
    ("blk.0.ffn_up.weight", FFN, HIDDEN, "Q2_K", q2_k, 2.0 ** -6),
    ("blk.0.ffn_down.weight", HIDDEN, FFN, "Q3_K", q3_k, 2.0 ** -9),
    ("output.weight", len(TOKENS), HIDDEN, "IQ4_XS", iq4_xs, 2.0 ** -14),
]


def model_bytes():
    """The same values as GGUF files of few bits and of Q8_0."""
    draw = random.Random(12)
    files = [], []
    for name, rows, columns, kind, make, d in WEIGHTS:
        blocks = [make(d, draw) for _ in range(rows * columns // 256)]
        for tensors, stored_as, part in zip(files, (kind, "Q8_0"), (0, 1)):
            data = b"".join(block[part] for block in blocks)
            tensors.append((name, [columns, rows], GGML_TYPES[stored_as], data))
    ones = struct.pack(f"<{HIDDEN}f", *[1.0] * HIDDEN)
    norms = [(name, [HIDDEN], GGML_TYPES["F32"], ones) for name in
             ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight")]
    keys = [("general.architecture", STRING, "llama"), ("llama.block_count", U32, 1), ("llama.context_length", U32, 64),
            ("llama.embedding_length", U32, HIDDEN), ("llama.feed_forward_length", U32, FFN),
            ("llama.attention.head_count", U32, HEADS), ("llama.attention.head_count_kv", U32, KV_HEADS),
            ("llama.attention.layer_norm_rms_epsilon", F32, 1e-5), ("llama.rope.freq_base", F32, 1e4),
            ("tokenizer.ggml.model", STRING, "gpt2"), ("tokenizer.ggml.pre", STRING, "gpt-2"),
            ("tokenizer.ggml.tokens", ARRAY, (STRING, TOKENS)), ("tokenizer.ggml.token_type", ARRAY, (I32, [1] * len(TOKENS))),
            ("tokenizer.ggml.merges", ARRAY, (STRING, ["a b"]))]
    return [gguf(keys, tensors + norms) for tensors in files]


class LowBit(LauncherCase):
    def setUp(self):
        super().setUp()
        for name, data in zip(("low.gguf", "q8_0.gguf"), model_bytes()):
            with open(self.path(name), "wb") as file:
                file.write(data)

    def test_score_equals_that_of_the_same_values_as_q8_0(self):
        tokens = self.write("tokens.json", str(TEXT))
        for ranks in (None, 2, 3):
            with self.subTest(ranks=ranks):
                logits = []
                for model in ("low", "q8_0"):
                    out = self.path(model + ".npy")
                    self.assert_done(kvfold("score", "--model", self.path(model + ".gguf"), "--tokens", tokens,
                                            "--dtype", "f32", "--chunk", 16, "--logits", out, ranks=ranks))
                    logits.append(read_npy(out))
                self.assertEqual(logits[0], logits[1])
                rows, cols, values = logits[0]
                self.assertEqual((rows, cols), (len(TEXT), len(TOKENS)))
                self.assertGreater(max(values) - min(values), 1)  # there is something to be equal

    def test_plan_and_tokenize(self):
        self.assert_done(kvfold("plan", "--model", self.path("low.gguf"), "--tokens", 100))
        result = kvfold("tokenize", "--model", self.path("low.gguf"), "--text", "cab")
        self.assert_done(result)
        self.assertEqual(json.loads(result.stdout), [TOKENS.index("c"), TOKENS.index("ab")])


if __name__ == "__main__":
    main()
