"""What the tests of the command line share: starting kvfold as users do, plainly or under mpirun.

Every script takes the executable, the fixtures' folder and mpirun's path as arguments.
"""

import array
import json
import math
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

_arguments = sys.argv[1:4]
KVFOLD = os.path.abspath(_arguments[0])
FIXTURES = os.path.abspath(_arguments[1])
MPIRUN = _arguments[2]
del sys.argv[1:4]

MODELS = os.path.join(FIXTURES, "models")
LLAMA = os.path.join(MODELS, "llama_gqa")  # 4 query heads over 2 KV heads, 256 tokens
# Under a sanitizer Open MPI's own leaks are not ours to report, and its plug-ins are unloaded before a suppression could name them.
MPI_ARGUMENTS = ["--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1", "-x", "ASAN_OPTIONS=detect_leaks=0"]


class Result:
    def __init__(self, code, stdout, stderr, seconds):
        self.code = code
        self.stdout = stdout
        self.stderr = stderr
        self.seconds = seconds

    @property
    def sentences(self):
        """Our own sentences of trouble; mpirun adds lines of its own."""
        return [line[len("kvfold: "):] for line in self.stderr.splitlines() if line.startswith("kvfold: ")]

    def __str__(self):
        return f"exit {self.code} after {self.seconds:.1f} s\nstdout: {self.stdout!r}\nstderr:\n{self.stderr}"


def environment():
    """Without what another mpirun left there: a plain start is a plain start."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("OMPI_", "PMIX_", "PMI_", "SLURM_"))}
    kept["CUDA_VISIBLE_DEVICES"] = ""  # these tests are of the command line, the same on every machine
    kept["OMPI_ALLOW_RUN_AS_ROOT"] = kept["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    kept["PRTE_ALLOW_RUN_AS_ROOT"] = kept["PRTE_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"  # those of Open MPI 5
    return kept


def start(command, timeout_s=60, cwd=None, stdin=None):
    """Runs a command in a session of its own; what hangs is killed with all its ranks, and fails. `stdin`: a text."""
    begin = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, errors="replace", env=environment(), start_new_session=True, cwd=cwd)
    try:
        stdout, stderr = process.communicate(input=stdin, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        stdout, stderr = process.communicate()
        raise AssertionError(f"{command} hung for {timeout_s} s\n{stdout}\n{stderr}") from None
    return Result(process.returncode, stdout, stderr, time.monotonic() - begin)


def kvfold(*arguments, ranks=None, **options):
    """Without `ranks` a plain start, else under mpirun."""
    mpi = [] if ranks is None else [MPIRUN, "-n", str(ranks), *MPI_ARGUMENTS]
    return start([*mpi, KVFOLD, *map(str, arguments)], **options)


def with_mounts(script, *arguments, ranks=None, **options):
    """kvfold where `script` of the shell has mounted something, seen by nobody else. Skips where that is not allowed."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        raise unittest.SkipTest("no mount namespace to be had here")
    mpi = [] if ranks is None else [MPIRUN, "-n", str(ranks), *MPI_ARGUMENTS]
    return start(["unshare", "-m", "sh", "-ec", script + '\nexec "$@"', "sh", *mpi, KVFOLD, *map(str, arguments)], **options)


def running_with(word):
    """Processes that have `word` in their command line."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                if word.encode() in file.read():
                    found.append(int(entry))
        except OSError:
            pass  # it has gone meanwhile
    return found


def read_json(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return json.load(file)


def read_json_lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def read_npy(path):
    """Shape and values of a little-endian float32 matrix in C order."""
    with open(path, "rb") as file:
        data = file.read()
    assert data[:8] == b"\x93NUMPY\x01\x00", data[:8]
    (header_bytes,) = struct.unpack("<H", data[8:10])
    header = data[10:10 + header_bytes].decode("latin-1")
    assert (10 + header_bytes) % 64 == 0 and header.endswith("\n"), header
    assert "'descr': '<f4'" in header and "'fortran_order': False" in header, header
    shape = header[header.index("'shape': (") + len("'shape': ("):]
    rows, cols = (int(n) for n in shape[:shape.index(")")].split(",")[:2])
    values = array.array("f", data[10 + header_bytes:])
    assert len(values) == rows * cols, (len(values), rows, cols)
    if sys.byteorder == "big":
        values.byteswap()
    return rows, cols, values


def mean_nll(rows, cols, logits, tokens):
    """Nats per scored token, in double: each row scores the token after it."""
    total = 0.0
    for row in range(rows - 1):
        values = logits[row * cols:(row + 1) * cols]
        top = max(values)
        log_sum = top + math.log(math.fsum(math.exp(value - top) for value in values))
        total += log_sum - values[tokens[row + 1]]
    return total / (rows - 1)


class LauncherCase(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="kvfold_launcher_")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def write_bytes(self, name, data):
        with open(self.path(name), "wb") as file:
            file.write(data)
        return self.path(name)

    def write_lines(self, name, records):
        return self.write(name, "".join(json.dumps(record) + "\n" for record in records))

    def wrapper(self, script):
        """A shell script to be started by mpirun in place of kvfold; $RANK and $KVFOLD are set."""
        path = self.write("wrapper.sh", f"#!/bin/sh\nRANK=$OMPI_COMM_WORLD_RANK\nKVFOLD='{KVFOLD}'\n{script}\n")
        os.chmod(path, 0o755)
        return path

    def start_wrapper(self, script, *arguments, ranks):
        return start([MPIRUN, "-n", str(ranks), *MPI_ARGUMENTS, self.wrapper(script), *map(str, arguments)])

    def assert_done(self, result):
        self.assertEqual(result.code, 0, str(result))
        self.assertEqual(result.sentences, [], str(result))

    def assert_refused(self, result, *words, code=2, within_s=20.0):
        """Exit code, exactly one sentence with these words, nothing on standard output, in time."""
        self.assertEqual(result.code, code, str(result))
        self.assertEqual(len(result.sentences), 1, str(result))
        for word in words:
            self.assertIn(str(word), result.sentences[0], str(result))
        self.assertEqual(result.stdout, "", str(result))
        self.assertLess(result.seconds, within_s, str(result))

    def assert_printable(self, result):
        """No byte that a terminal obeys, hides or cannot show left the program on standard error."""
        for character in result.stderr:
            self.assertTrue(character == "\n" or (character.isprintable() and character != "\ufffd"), str(result))

    def assert_json(self, result):
        """Standard output is one JSON object on one line and nothing else."""
        self.assertTrue(result.stdout.endswith("}\n"), str(result))
        self.assertEqual(result.stdout.count("\n"), 1, str(result))
        value = json.loads(result.stdout)
        self.assertIsInstance(value, dict)
        return value


def long(test):
    """Marks a test that takes long. KVFOLD_CASES is `short` (all others), `long` (these alone) or not set (all)."""
    test.long = True
    return test


class _Chosen(unittest.TestLoader):
    def getTestCaseNames(self, case):
        cases = os.environ.get("KVFOLD_CASES")
        return [name for name in super().getTestCaseNames(case)
                if cases is None or hasattr(getattr(case, name), "long") == (cases == "long")]


def main():
    unittest.main(verbosity=2, testLoader=_Chosen())
