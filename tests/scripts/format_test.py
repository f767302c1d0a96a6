"""The format of what people read: C++ as .clang-format has it, and no line of text or script over its width.

    format_test.py ROOT

C++ is checked where clang-format of the version that .clang-format was written for is installed: other versions
break lines elsewhere. Tables, and code blocks that nothing can break, may be wider.
"""

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys

VERSION = 14
WIDTH = 100


def tracked(root, *patterns):
    listed = subprocess.run(["git", "-C", str(root), "ls-files", *patterns], stdout=subprocess.PIPE, text=True)
    if listed.returncode == 0:
        return [root / name for name in listed.stdout.splitlines() if (root / name).is_file()]
    return [path for pattern in patterns for path in sorted(root.glob("*/**/" + pattern))]


def clang_format():
    for name in (f"clang-format-{VERSION}", "clang-format"):
        if shutil.which(name) is None:
            continue
        version = subprocess.run([name, "--version"], stdout=subprocess.PIPE, text=True).stdout
        if re.search(rf"version {VERSION}\.", version):
            return name
    return None


def misformatted(program, files):
    def check(some):
        done = subprocess.run([program, "--dry-run", "-Werror", *map(str, some)], stderr=subprocess.PIPE, text=True)
        return [line for line in done.stderr.splitlines() if ": error: " in line]

    parts = [files[i::8] for i in range(8)]
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return [line for lines in pool.map(check, [part for part in parts if part]) for line in lines]


def too_wide(files):
    for path in files:
        in_block = False
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            in_block ^= line.startswith("```")
            if len(line) > WIDTH and not in_block and not line.startswith(("|", "    ")) and " " in line.strip():
                yield f"{path}:{number}: {len(line)} columns, expected {WIDTH} at most"


def too_wide_comments(files):
    """clang-format leaves comments as they stand, since their lines are often drawings."""
    for path in files:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if len(line) > WIDTH and line.lstrip().startswith("//"):
                yield f"{path}:{number}: a comment of {len(line)} columns, expected {WIDTH} at most"


def main(root):
    sources = tracked(root, "*.h", "*.cc", "*.cu", "*.cuh")
    wrong = [*too_wide(tracked(root, "*.md")), *too_wide_comments(sources)]
    program = clang_format()
    if program is None:
        print(f"clang-format {VERSION} is not here: C++ was not checked")
    else:
        wrong += misformatted(program, sources)
    for line in wrong:
        print(line)
    return 1 if wrong else 0


sys.exit(main(pathlib.Path(sys.argv[1])))
