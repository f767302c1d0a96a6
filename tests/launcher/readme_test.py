"""Every command of the README does what stands there: each indented line is run, on a small model, or known."""

import json
import os
import re
import shlex

from byte_model import byte_model
from chain_model import CHATML
from launcher_case import FIXTURES, LauncherCase, kvfold, main

ROOT = os.path.dirname(os.path.dirname(FIXTURES))


def blocks(page):
    """Indented blocks, each with the name of the file that it shows (<!-- name -->), if any."""
    for match in re.finditer(r"(?:^<!-- (\S+) -->\n\n)?((?:^    .*\n)+)", page, re.MULTILINE):
        lines = [line[4:] for line in match[2].replace("\\\n", "").splitlines()]
        yield match[1], lines


class Readme(LauncherCase):
    def setUp(self):
        super().setUp()
        with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
            self.blocks = list(blocks(file.read()))
        self.model = byte_model(self.folder)
        self.write("model/tokenizer_config.json", json.dumps({"chat_template": CHATML}))
        self.write("book.txt", "The gardener dies at the end. " * 20)
        for name, lines in self.blocks:
            if name is not None:
                self.write(name, "".join(f"{line}\n" for line in lines))

    def run_kvfold(self, words, ranks=None):
        arguments = [self.model if word == "MODEL" else word for word in words]
        result = kvfold(*arguments, ranks=ranks, cwd=self.folder)
        self.assertEqual(result.code, 0, f"{words}\n{result}")
        return result

    def check(self, line):
        """Returns the command of kvfold that it was, if any."""
        words = shlex.split(line, comments=True)
        if line.startswith("./scripts/"):  # run by tests/scripts and by .ci/run
            self.assertEqual(len(words), 1, line)
            self.assertTrue(os.access(os.path.join(ROOT, words[0]), os.X_OK), line)
            return None
        if line.startswith("cmake "):
            with open(os.path.join(ROOT, "CMakePresets.json"), encoding="utf-8") as file:
                presets = json.load(file)
            for command in line.split(" && "):
                kind, name = re.fullmatch(r"cmake (--build )?--preset (\w+)", command).groups()
                known = presets["buildPresets" if kind else "configurePresets"]
                self.assertIn(name, [preset["name"] for preset in known], line)
            return None
        mpirun, option, ranks, program = words[:4]
        self.assertEqual((mpirun, option, os.path.basename(program)), ("mpirun", "-n", "kvfold"), line)
        self.run_kvfold(words[4:], ranks=int(ranks))
        return words[4]

    def test_every_command(self):
        commands = []
        for name, lines in self.blocks:
            if name is not None:
                continue
            if lines[0].startswith("$ kvfold "):  # a command with what it prints
                words = shlex.split(lines[0])[2:]
                self.assertEqual(self.run_kvfold(words).stdout.splitlines(), lines[1:])
                commands.append(words[0])
                continue
            commands += filter(None, map(self.check, lines))
        self.assertEqual(sorted(set(commands)), ["bench", "plan", "run", "score"])
        with open(os.path.join(self.folder, "results.jsonl"), encoding="utf-8") as file:
            records = {record["id"]: record for record in map(json.loads, file)}
        self.assertEqual(set(records), {"a", "b", "c"})
        for record in records.values():
            self.assertNotIn("error", record)
        self.assertTrue(os.path.exists(os.path.join(self.folder, "logits.npy")))


if __name__ == "__main__":
    main()
