"""scripts/scaling_table.py on runs whose table is known."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "scaling_table.py"


def run(tokens, chunk, ranks, fold_s):
    return {"tokens": tokens, "chunk": chunk, "ranks": ranks, "fold_s": fold_s, "tokens_per_s": tokens / fold_s,
            "linear": {"fraction": 0.8}, "attention": {"fraction": 0.7}, "comm_share": 0.02}


class ScalingTable(unittest.TestCase):
    def table(self, *files):
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for number, content in enumerate(files):
                paths.append(pathlib.Path(folder) / f"{number}.json")
                paths[-1].write_text(json.dumps(content))
            out = pathlib.Path(folder) / "out"
            subprocess.run([sys.executable, "-B", SCRIPT, "--out", out, *paths], check=True)
            rows = [line for line in out.with_suffix(".md").read_text().splitlines() if line.startswith("| ")]
            return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]], json.loads(out.with_suffix(".json").read_text())

    def test_strong_and_weak(self):
        rows, raw = self.table({"runs": [run(1024, 256, 1, 2.0), run(2048, 256, 1, 5.0)]},
                               {"runs": [run(1024, 256, 2, 1.25), run(2048, 256, 2, 4.0)]})
        self.assertEqual(len(raw["runs"]), 4)
        by_key = {(row[0], row[2]): row for row in rows}
        self.assertEqual(by_key["1024", "2"][8], "0.80")  # 2.0 / (1.25 * 2)
        self.assertEqual(by_key["1024", "1"][8], "1.00")
        # 2048 tokens on two ranks, 256 a second and rank, beside 1024 on one, 512 a second.
        self.assertEqual(by_key["2048", "2"][9], "0.50")
        self.assertEqual(by_key["1024", "2"][9], "")  # 512 tokens on one rank were not run
        self.assertEqual(by_key["1024", "1"][7], "2.0 %")

    def test_a_single_run_is_an_object(self):
        rows, _ = self.table(run(64, 64, 1, 1.0))
        self.assertEqual(len(rows), 1)

    def test_a_setting_that_was_run_twice_counts_once(self):
        rows, raw = self.table({"runs": [run(64, 64, 1, 1.0), run(64, 64, 1, 2.0)]})
        self.assertEqual([row[3] for row in rows], ["1.00"])
        self.assertEqual(len(raw["runs"]), 1)


if __name__ == "__main__":
    unittest.main()
