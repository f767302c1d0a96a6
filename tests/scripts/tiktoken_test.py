"""scripts/tiktoken_to_tokenizer_json.py: what it must not write over."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "tiktoken_to_tokenizer_json.py"


class Output(unittest.TestCase):
    def test_vocabulary_is_not_replaced(self):
        with tempfile.TemporaryDirectory() as folder:
            vocabulary = pathlib.Path(folder) / "qwen.tiktoken"
            vocabulary.write_text("IQ== 0\n")
            os.symlink(vocabulary.name, pathlib.Path(folder) / "link")
            for name in ("qwen.tiktoken", "link"):
                result = subprocess.run([sys.executable, "-B", SCRIPT, "--family", "qwen2", vocabulary, pathlib.Path(folder) / name],
                                        capture_output=True, text=True, check=False)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertIn("name another file", result.stderr)
                self.assertEqual(vocabulary.read_text(), "IQ== 0\n")


if __name__ == "__main__":
    unittest.main()
