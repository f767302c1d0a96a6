#!/usr/bin/env python3
"""Checks that includes point only along the arrows of the house, and draws the house from them.

    check_includes.py                       exit 1 and one line an offender where an include points the wrong way, names no
                                            file from the repository's root, or closes a cycle
    check_includes.py --draw                print the house: folders, and an arrow for every include that there is
    check_includes.py --update docs/design.md   write the drawing between the markers of that page
    check_includes.py --check docs/design.md    exit 1 where the page's drawing is stale

Rooms: launcher -> runtime -> shard -> models -> comm. Folders of runtime/ are ordered too. A folder may include itself and
those to its right. tests/ and scripts/ may include anything and be included by nobody.
"""

import argparse
import pathlib
import re
import sys

ROOMS = {
    "launcher": "how is it started?",
    "runtime": "what happens to a chunk, a request, a batch?",
    "shard": "who holds what?",
    "models": "what is this model, on the host?",
    "comm": "where do bytes live, and how do they move?",
}
RUNTIME = {
    "service": "requests over sockets",
    "eval": "experiments and their measures",
    "jobs": "batches of requests, and their results on disk",
    "session": "all that a rank needs to run a model",
    "fold": "requests chunk by chunk: scheduler, sampler",
    "model": "the transformer's forward pass",
    "weights": "a rank's slice, read and packed",
    "kernels": "arithmetic on tensors",
}
SUFFIXES = {".h", ".cc", ".cu", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
BEGIN, END = "<!-- house:begin -->", "<!-- house:end -->"
NOTE = "<!-- drawn by scripts/check_includes.py --update docs/design.md -->"


class House:
    """The include graph of the rooms under `root`: for every file, the files of the repository that it includes."""

    def __init__(self, root):
        self.root = root
        self.offenders = []
        self.graph = {}
        for room in ROOMS:
            for path in sorted((root / room).rglob("*")):
                if path.suffix in SUFFIXES and path.is_file():
                    name = path.relative_to(root).as_posix()
                    self.graph[name] = self._read(path, name)

    def _read(self, path, name):
        included = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            quote, target = match.groups()
            if (self.root / target).is_file() and not target.startswith(("/", ".")):
                included.append(target)
                reason = wrong_way(name, target)
                if reason:
                    self.offenders.append(f"{name}:{number}: includes {target}: {reason}")
            elif quote == '"' and not (self.root / f"{target}.in").is_file():  # X.h.in: CMake writes X.h
                self.offenders.append(f'{name}:{number}: includes "{target}", which is no file from the repository\'s root')
        return included

    def check(self):
        found = list(self.offenders)
        for room in ROOMS:
            siblings = self.folders(room)
            inner = {name: [a for a in self.arrows(f"{room}/{name}") if a in siblings] for name in siblings}
            cycle = find_cycle(inner)
            if cycle:
                found.append("cycle of folders: " + " -> ".join(f"{room}/{name}/" for name in cycle))
        cycle = find_cycle(self.graph)
        if cycle:
            found.append("cycle of files: " + " -> ".join(cycle))
        return found

    def folders(self, room):
        """The folders directly in `room` that hold sources, in the order of the house."""
        names = {path.split("/")[1] for path in self.graph if path.startswith(f"{room}/") and path.count("/") > 1}
        order = list(RUNTIME) if room == "runtime" else []
        return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))

    def arrows(self, folder):
        """What the files in `folder` include outside it: rooms, and the other folders of its own room, in order."""
        room = folder.split("/")[0]
        siblings = self.folders(room)
        found = set()
        for name, targets in self.graph.items():
            if not name.startswith(f"{folder}/"):
                continue
            for target in targets:
                target_room, *rest = target.split("/")
                if target_room != room:
                    found.add(target_room)
                elif folder != room and len(rest) > 1 and not target.startswith(f"{folder}/"):
                    found.add(rest[0])
        order = siblings + [name for name in ROOMS if name not in siblings]
        return sorted(found, key=lambda name: order.index(name) if name in order else len(order))

    def draw(self):
        rows = []
        for room, words in ROOMS.items():
            rows.append((f"{room}/", words, self.arrows(room)))
            for folder in self.folders(room):
                words = RUNTIME.get(folder, "") if room == "runtime" else ""
                rows.append((f"  {folder}/", words, self.arrows(f"{room}/{folder}")))
        name_width = max(len(name) for name, _, _ in rows)
        word_width = max(len(words) for _, words, _ in rows)
        lines = []
        for name, words, arrows in rows:
            arrow = f"  -> {', '.join(arrows)}" if arrows else ""
            lines.append(f"{name:<{name_width}}  {words:<{word_width}}{arrow}".rstrip())
        return "\n".join(lines) + "\n"


def find_cycle(graph):
    """Nodes that point at each other in a circle, the first one again at the end; empty: there is none."""
    state, trail = {}, []

    def visit(node):
        state[node] = "open"
        trail.append(node)
        for target in graph.get(node, ()):
            if state.get(target) == "open":
                return trail[trail.index(target) :] + [target]
            if target not in state:
                found = visit(target)
                if found:
                    return found
        trail.pop()
        state[node] = "done"
        return []

    sys.setrecursionlimit(max(1000, 10 * len(graph)))
    for node in graph:
        if node not in state:
            found = visit(node)
            if found:
                return found
    return []


def position(name):
    """(room's place, folder's place within runtime) of a file; None where runtime/ has a folder that is not ordered."""
    room, *rest = name.split("/")
    places = list(ROOMS)
    if room != "runtime" or len(rest) < 2:
        return places.index(room), -1  # a file directly in runtime/ stands left of its folders
    return (places.index(room), list(RUNTIME).index(rest[0])) if rest[0] in RUNTIME else None


def wrong_way(name, target):
    """Why the file `name` may not include `target`; empty where it may."""
    if target.split("/")[0] not in ROOMS:
        return f"{target.split('/')[0]}/ is no room"
    start, end = position(name), position(target)
    for place, path in ((start, name), (end, target)):
        if place is None:
            return f"{'/'.join(path.split('/')[:2])}/ is not among the folders of runtime/ that this script orders"
    if start[0] > end[0]:
        return f"{target.split('/')[0]}/ is left of {name.split('/')[0]}/"
    if start[0] == end[0] and start[1] > end[1]:
        return f"{'/'.join(target.split('/')[:-1])}/ is left of {'/'.join(name.split('/')[:2])}/"
    return ""


def split_page(page):
    """(before, between, after) the markers of a page. Exits 2 where it does not have exactly one of each, in order."""
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        print(f"{page}: expected one line {BEGIN} and below it one line {END}", file=sys.stderr)
        raise SystemExit(2)
    before, rest = text.split(BEGIN)
    between, after = rest.split(END)
    return before, between, after


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = pathlib.Path(__file__).resolve().parent.parent
    parser.add_argument("--root", type=pathlib.Path, default=default, help="the repository (default: this one)")
    parser.add_argument("--draw", action="store_true", help="print the house")
    parser.add_argument("--update", type=pathlib.Path, metavar="PAGE", help="write the house into a page")
    parser.add_argument("--check", type=pathlib.Path, metavar="PAGE", help="fail where a page's house is stale")
    arguments = parser.parse_args()

    house = House(arguments.root)
    if not house.graph:
        print(f"{arguments.root}: none of {', '.join(ROOMS)} holds a source", file=sys.stderr)
        return 2
    offenders = house.check()
    for offender in offenders:
        print(offender, file=sys.stderr)

    drawing = house.draw()
    if arguments.draw:
        print(drawing, end="")
    wanted = f"\n{NOTE}\n```text\n{drawing}```\n"
    if arguments.update:
        before, _, after = split_page(arguments.update)
        arguments.update.write_text(before + BEGIN + wanted + END + after, encoding="utf-8")
    if arguments.check and split_page(arguments.check)[1] != wanted:
        print(f"{arguments.check}: the house is stale; run scripts/check_includes.py --update docs/design.md", file=sys.stderr)
        return 1
    return 1 if offenders else 0


if __name__ == "__main__":
    sys.exit(main())
