"""scripts/check_includes.py on small trees made for it: every rule has a tree that breaks it."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "check_includes.py"
GOOD = {
    "launcher/main.cc": '#include "runtime/fold/fold.h"\n#include <vector>\n',
    "runtime/fold/fold.h": '#include "runtime/kernels/kernels.h"\n#include "shard/plan.h"\n',
    "runtime/kernels/kernels.h": '#include "comm/device/device.h"\n',
    "runtime/kernels/cpu/cpu.cc": '#include "runtime/kernels/kernels.h"\n',
    "shard/plan.h": '#include "models/config.h"\n',
    "models/config.h": '#include "comm/error.h"\n',
    "comm/error.h": "#pragma once\n",
    "comm/device/device.h": '#include "comm/error.h"\n#include "comm/version.h"\n',
    "comm/version.h.in": "",
    "tests/any_test.cc": '#include "launcher/main.cc"\n',
}
PAGE = "# A page\n<!-- house:begin -->\n<!-- house:end -->\nThe rest.\n"


class CheckIncludes(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def write(self, files):
        for name, text in files.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(text)

    def run_script(self, *arguments):
        command = [sys.executable, str(SCRIPT), "--root", str(self.root), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertNotIn("Traceback", done.stderr)
        return done

    def expect_offender(self, files, *words):
        self.write({**GOOD, **files})
        done = self.run_script()
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_right_tree_passes(self):
        self.write(GOOD)
        done = self.run_script()
        self.assertEqual((done.returncode, done.stderr, done.stdout), (0, "", ""))

    def test_room_to_the_left(self):
        self.expect_offender(
            {"shard/bad.cc": '#pragma once\n#include "runtime/fold/fold.h"\n'}, "shard/bad.cc:2", "runtime/ is left of shard/"
        )

    def test_angle_brackets_hide_nothing(self):
        self.expect_offender({"comm/bad.h": "#include <models/config.h>\n"}, "comm/bad.h:1", "models/ is left of comm/")

    def test_runtime_folder_to_the_left(self):
        self.expect_offender(
            {"runtime/weights/bad.cc": ' #  include "runtime/fold/fold.h"\n'},
            "runtime/weights/bad.cc:1",
            "runtime/fold/ is left of runtime/weights/",
        )

    def test_runtime_itself_is_left_of_its_folders(self):
        self.expect_offender(
            {"runtime/engine.h": "", "runtime/fold/bad.cc": '#include "runtime/engine.h"\n'}, "runtime/fold/bad.cc:1"
        )

    def test_unknown_runtime_folder(self):
        self.expect_offender({"runtime/attic/bad.cc": '#include "comm/error.h"\n'}, "runtime/attic/ is not among")

    def test_room_includes_tests(self):
        self.write({"tests/support/close.h": ""})
        self.expect_offender({"comm/bad.cc": '#include "tests/support/close.h"\n'}, "tests/ is no room")

    def test_include_not_from_the_root(self):
        self.expect_offender({"comm/bad.cc": '#include "error.h"\n'}, "comm/bad.cc:1", '"error.h"', "no file from")

    def test_cycle_of_files(self):
        self.expect_offender(
            {"comm/a.h": '#include "comm/b.h"\n', "comm/b.h": '#include "comm/a.h"\n'},
            "cycle of files: comm/a.h -> comm/b.h -> comm/a.h",
        )

    def test_file_that_includes_itself(self):
        self.expect_offender({"comm/a.h": '#include "comm/a.h"\n'}, "comm/a.h -> comm/a.h")

    def test_cycle_of_folders(self):
        self.expect_offender(
            {
                "comm/x/one.h": '#include "comm/y/one.h"\n',
                "comm/y/one.h": "",
                "comm/y/two.h": '#include "comm/x/two.h"\n',
                "comm/x/two.h": "",
            },
            "cycle of folders: comm/x/ -> comm/y/ -> comm/x/",
        )

    def test_empty_tree_is_no_success(self):
        self.assertEqual(self.run_script().returncode, 2)

    def test_draws_what_is_included(self):
        self.write(GOOD)
        lines = {line.split()[0]: line for line in self.run_script("--draw").stdout.splitlines()}
        self.assertEqual(
            list(lines), ["launcher/", "runtime/", "fold/", "kernels/", "shard/", "models/", "comm/", "device/"]
        )
        self.assertTrue(lines["launcher/"].endswith("-> runtime"))
        self.assertTrue(lines["runtime/"].endswith("-> shard, comm"))
        self.assertTrue(lines["fold/"].endswith("-> kernels, shard"))
        self.assertNotIn("->", lines["comm/"])

    def test_page_is_written_and_goes_stale(self):
        page = self.root / "README.md"
        self.write({**GOOD, "README.md": PAGE})
        self.assertEqual(self.run_script("--check", page).returncode, 1)
        self.assertEqual(self.run_script("--update", page).returncode, 0)
        self.assertEqual(self.run_script("--check", page).returncode, 0)
        text = page.read_text()
        self.assertIn(self.run_script("--draw").stdout, text)
        self.assertTrue(text.startswith("# A page\n") and text.endswith("<!-- house:end -->\nThe rest.\n"))
        self.assertEqual(self.run_script("--update", page).returncode, 0)
        self.assertEqual(page.read_text(), text)
        self.write({"shard/plan.h": '#include "models/config.h"\n#include "comm/error.h"\n'})
        self.assertEqual(self.run_script("--check", page).returncode, 1)

    def test_page_without_markers(self):
        self.write({**GOOD, "README.md": "# A page\n"})
        done = self.run_script("--update", self.root / "README.md")
        self.assertEqual(done.returncode, 2)
        self.assertIn("<!-- house:begin -->", done.stderr)


if __name__ == "__main__":
    unittest.main()
