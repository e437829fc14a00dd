"""Files of other programs, mutated and damaged: a message or a cube with something in it, never a traceback.

By hand: ``python tests/fuzz/test_fuzz_exchange.py 2000 [SEED]``.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import numpy as np
import yaml
from fuzzing import by_hand, changed, fuzz, ran, spoilt

from acecausal.cube.files import open_cube
from acecausal.exchange import export_cube, import_cube


@cache
def originals() -> Path:
    """One input of every format."""
    from exchange_files import opinion_rows, plant, subpop_rows

    folder = Path(tempfile.mkdtemp())
    cube = import_cube("ace-align", plant(folder / "ace-align", ["japan"])).cube
    export_cube("ace-align-pairs", cube, folder / "ace-align-pairs.jsonl")
    export_cube("popfidelity", cube, folder / "popfidelity")
    (folder / "subpop.jsonl").write_text("\n".join(map(json.dumps, subpop_rows())), encoding="utf-8")
    (folder / "opinionqa.json").write_text(json.dumps(opinion_rows()), encoding="utf-8")
    return folder


def case(rng: np.random.Generator, folder: Path) -> str:
    """One input, changed in one to three places, imported."""
    format = str(rng.choice(["ace-align", "ace-align-pairs", "popfidelity", "subpop", "opinionqa"]))
    there = next(originals().glob(f"{format}*" if format != "ace-align" else format))
    source = folder / there.name
    shutil.copytree(there, source) if there.is_dir() else shutil.copy(there, source)
    files = sorted(file for file in ([source] if source.is_file() else source.rglob("*")) if file.is_file())
    for _ in range(rng.integers(1, 4)):
        file = files[rng.integers(0, len(files))]
        if not file.exists():
            continue
        content = file.read_bytes()
        try:
            if rng.random() < 0.3 or file.suffix == ".csv":
                raise ValueError  # bytes
            if file.suffix == ".json":
                new = json.dumps(changed(json.loads(content), rng))
            elif file.suffix == ".jsonl":
                new = "\n".join(map(json.dumps, changed([json.loads(line) for line in content.splitlines()], rng)))
            else:
                new = yaml.safe_dump(changed(yaml.safe_load(content), rng), sort_keys=False)
            file.write_text(new, encoding="utf-8")
        except (ValueError, TypeError, AttributeError, yaml.YAMLError, RecursionError):
            if rng.random() < 0.05:
                file.unlink()
            else:
                file.write_bytes(spoilt(content, rng))
    output = folder / f"o{rng.choice(['.zarr', '.nc'])}"
    chosen = ["--keep-going"] if rng.random() < 0.5 else []
    if format == "subpop" or rng.random() < 0.3:
        chosen += ["--respondents", "60"]
    if rng.random() < 0.2:
        chosen += ["--country", "Peru"]
    if format == "subpop" and rng.random() < 0.8:
        chosen += ["--baseline", "SEX=Male"]
    code = ran("import", format, source, *chosen, "-o", output)
    if code not in (0, 3):
        assert not output.exists(), "something half-written"
        return "refused"
    cube = open_cube(output)
    assert cube["n"].max() > 0, "success with nothing in it"
    assert cube["response"].notnull().any(), "success with nothing in it"
    assert (code == 3) == ("passed_over" in cube.attrs and cube.attrs["passed_over"] != "[]")
    return f"{format}: imported" if code == 0 else "imported in part"


def test_exchange(tmp_path):
    outcomes = fuzz(case, 30, tmp_path)
    assert outcomes["refused"] > 3
    assert sum(count for name, count in outcomes.items() if name.endswith("imported")) > 0


if __name__ == "__main__":
    by_hand(case)
