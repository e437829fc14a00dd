"""The documentation: it builds without a warning, and what it tells people to type works as it says.

Every fenced block is taken at its word: `sh` and `console` blocks are commands, run in order, page by page, in a folder
that holds the files which the page speaks of; what follows a command in a `console` block is exactly what it prints; a
`python` block runs; and a block whose first line is a comment with a file's name is that file.
"""

from __future__ import annotations

import contextlib
import html
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from unittest import mock

import click
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from completion_server import NAME, CompletionServer, leaning
from exchange_files import COUNTRIES, opinion_rows, plant, subpop_rows
from survey_files import draw, write_survey

import acecausal
from acecausal.cube import schema
from acecausal.estimation.estimators import ESTIMATORS
from acecausal.survey.codebook import Codebook, load_codebook
from align.models.gguf import converted_folder, seal
from cli import main

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)]

#: What begins so is not run here; the acecausal command in it, if there is one, must still be one that exists.
NOT_RUN = ("make ", "pip install ", "find ", "accelerate launch ", "dask ", "acecausal demo")
#: Where a page does not say what is printed, the command and not the result is tested: numbers that are cut down, and
#: what is said besides.
QUICKER = {"--refute": "1", "--rate": "1000"}
ONE_PASS = ["--passes", "1"]
SMALL_LATTICE = ["--attributes", "gender,degree,age"]
#: Addresses of the pages, which the tests replace by those of servers of their own.
SERVER, CLUSTER = "http://localhost:8000/v1", "tcp://10.0.0.1:8786"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


# --- reading a page ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Command:
    """A line to type, and what it prints, if the page says so."""

    line: str
    output: str | None = None


@dataclass(frozen=True)
class File:
    name: str
    text: str


@dataclass(frozen=True)
class Script:
    text: str


def steps(text: str) -> Iterator[Command | File | Script]:
    """Read a page's blocks, in order."""
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S):
        named = re.match(r"(?:#|//) (\S+\.\w+)\n", block)
        if named:
            yield File(named[1], block)
        elif language == "console":
            for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
                line, _, output = part.partition("\n")
                yield Command(line, output)
        elif language == "sh":
            for line in block.replace("\\\n", " ").splitlines():
                if line.strip() and not line.startswith("#"):
                    yield Command(line)
        elif language == "python":
            yield Script(block)


def arguments(line: str) -> list[str] | None:
    """Give what follows `acecausal` in a line, and check that there are such a command and such options.

    None, if it is not in the line.
    """
    words = shlex.split(line, comments=True)
    at = [i for i, word in enumerate(words) if PurePath(word).name == "acecausal"]
    if not at:
        return None
    given = rest = words[at[0] + 1 :]
    command, context = main, click.Context(main, info_name="acecausal")
    try:
        while isinstance(command, click.Group):
            name, command, rest = command.resolve_command(context, rest)
            context = click.Context(command, info_name=name, parent=context)
        command.make_context(name, list(rest), parent=context.parent)
    except click.UsageError as error:
        raise AssertionError(f"{line}: {error.format_message()}") from None
    return given


def follow(text: str, run: Callable[[list[str]], str]) -> int:
    """Do what a page says, in the working folder; returns how many commands were run."""
    namespace: dict[str, object] = {}
    count = 0
    for step in steps(text):
        if isinstance(step, Script):
            exec(step.text.replace("refute=20", "refute=1"), namespace)
        elif isinstance(step, Command):
            args = arguments(step.line)
            if step.line.startswith(NOT_RUN):
                continue
            assert args is not None, f"{step.line}: neither acecausal nor listed in NOT_RUN"
            output = run(args if step.output is not None else quicker(args))
            if step.output is not None:
                assert lines(output) == lines(step.output), step.line
            count += 1
    return count


def quicker(args: list[str]) -> list[str]:
    """Cut down what a command does, with all the options that the page gives it."""
    args = [QUICKER.get(before, arg) for before, arg in zip(["", *args], args, strict=False)]
    whole = args[0] == "estimate" and "wvs-sample" in args and not {"--attributes", "--depth"} & set(args)
    return args + ONE_PASS * (args[0] in ("align", "transfer")) + SMALL_LATTICE * whole


def lines(output: str) -> list[str]:
    return [line.rstrip() for line in output.rstrip().splitlines()]


def invoke(args: list[str]) -> str:
    result = CliRunner().invoke(main, args, catch_exceptions=False)
    assert result.exit_code == 0, f"acecausal {shlex.join(args)}: exit code {result.exit_code}\n{result.output}"
    return result.output


# --- the files that pages speak of ------------------------------------------------------------------------------------


def table(path: Path, codebook: str, n: int, **others: object) -> None:
    """Write a CSV file of made-up respondents."""
    drawn = draw(load_codebook(codebook), n, np.random.default_rng(0))
    drawn.assign(**others).to_csv(path, index=False)


def own(path: Path) -> None:
    drawn = draw(load_codebook("own.yaml"), 1500, np.random.default_rng(0))
    drawn["year"] = np.random.default_rng(1).choice([2022, 2024], len(drawn))
    drawn.to_csv(path, index=False)


def raters(path: Path) -> None:
    rng = np.random.default_rng(0)
    people = pd.DataFrame({"rater_id": range(120), "language": "en", "gender": rng.choice(["m", "w"], 120)})
    people.to_csv(path, index=False)
    given = pd.DataFrame(
        {"rater_id": np.repeat(np.arange(120), 10), "item_id": np.concatenate([rng.permutation(30)[:10]] * 120)}
    )
    given["offensive"] = rng.integers(0, 3, len(given))
    given.to_csv(path.with_name("ratings.csv"), index=False)


def folder_named(model: Path) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(model)


def kept(file: Path) -> Callable[[Path], object]:
    """Take a file that stands beside its page."""
    return lambda path: shutil.copyfile(file, path)


def converted(model: Path, cache: Path) -> Callable[[Path], None]:
    """Put the tiny model where a converted GGUF file is kept: so it need not be one."""

    def write(path: Path) -> None:
        path.write_text("not really", encoding="utf-8")
        kept = cache / "acecausal" / "gguf" / converted_folder(path).name
        if not kept.exists():
            shutil.copytree(model, kept)
            seal(kept)

    return write


@pytest.fixture(scope="module")
def model(tiny_model, tmp_path_factory) -> Path:
    """A still smaller model, with a tokenizer that knows the words of the prompts, so that whole lattices are quick."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "worded"
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    known = (
        ROOT / "align" / "prompting" / "templates.py",
        ROOT / "acecausal" / "survey" / "codebooks" / "wvs-sample.yaml",
    )
    texts = [path.read_text(encoding="utf-8") for path in known] + ["Option 1, 2, 3"] * 100
    tokenizer = tokenizer.train_new_from_iterator(texts, 1500)
    tokenizer.save_pretrained(folder)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 16}
    config = AutoConfig.from_pretrained(
        tiny_model, vocab_size=len(tokenizer), eos_token_id=len(tokenizer) - 1, **small, **heads
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """So small a model is slower on two threads, and much slower where others use them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def files(model, tmp_path_factory) -> dict[str, Callable[[Path], object]]:
    """How to make the files, by the words that stand for them in a page."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        yield {
            GGUF: converted(model, cache),
            "M": folder_named(model),
            "ESS11e04_2.sav": lambda path: write_survey(path, load_codebook("ess11"), 900, countries=("NOR", "POL")),
            "WVS_Cross-National_Wave_7_csv_v6_0.csv": lambda path: table(path, "wvs7", 500),
            "survey.sav": lambda path: write_survey(path, load_codebook("issp2019"), 2000),
            "own.csv": own,
            "raters.csv": raters,
            "ACE-Align/data/eval": plant,
            "vital_steerable_opinionqa.json": lambda path: path.write_text(json.dumps(opinion_rows())),
            "vital_distributional_globalopinionqa.json": lambda path: path.write_text(
                json.dumps(opinion_rows(COUNTRIES))
            ),
            "rows.jsonl": lambda path: path.write_text("\n".join(map(json.dumps, subpop_rows())), encoding="utf-8"),
            **{path.name: kept(path) for path in (DOCS / "gallery").glob("*.yaml")},
        }


@contextlib.contextmanager
def servers(text: str, folder: Path) -> Iterator[dict[str, str]]:
    """Start what a page's addresses stand for; yields what to put in their place."""
    with contextlib.ExitStack() as stack:
        there: dict[str, str] = {}
        if f"--endpoint {SERVER}" in text:
            likely = {f"{space}{digit}": 8.0 for digit in "123" for space in ("", "Ġ")}
            server = stack.enter_context(CompletionServer(*leaning(folder, likely, chat=True)))
            there |= {SERVER: server.url, f"{SERVER}/chat/completions": f"{server.url}/chat/completions", "NAME": NAME}
        if f"--scheduler {CLUSTER}" in text:
            from distributed import LocalCluster

            cluster = LocalCluster(n_workers=1, processes=False, dashboard_address=None, protocol="tcp")
            there[CLUSTER] = stack.enter_context(cluster).scheduler_address
        yield there


# --- the commands -----------------------------------------------------------------------------------------------------


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


WITH_COMMANDS = [path for path in PAGES if any(isinstance(step, Command) for step in steps(path.read_text("utf-8")))]


def test_pages__have_the_commands_that_are_expected():
    assert {path.stem for path in WITH_COMMANDS} >= {"README", "tutorial", "statistics", "own-survey", "models"}
    named = [step.name for path in PAGES for step in steps(path.read_text("utf-8")) if isinstance(step, File)]
    assert sorted(named) == ["graph.dot", "own-recipe.yaml", "own.yaml", "raters.yaml", "toplines.csv"]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_pages__do_what_they_say(page, files, model, tmp_path, monkeypatch):
    text = page.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for step in steps(text):
        if isinstance(step, File):
            Path(step.name).write_text(step.text, encoding="utf-8")
    for name, make in files.items():
        if re.search(rf"(?<![\w./-]){re.escape(name)}(?![\w-])", text):
            path = Path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            make(path)
    with servers(text, model) as there, mock.patch.dict(ESTIMATORS):  # a page adds one
        count = follow(text, lambda args: invoke([there.get(arg, arg) for arg in args]))
    assert (count > 0) == (page in WITH_COMMANDS)
    picture = page.with_suffix(".svg")  # the gallery's: what it says is what the page's commands draw
    if picture.exists():
        assert writing(Path("pictures/effects-1.svg")) == writing(picture)


def writing(picture: Path) -> list[str]:
    found = re.findall(r"<text[^>]*>(.*?)</text>", picture.read_text("utf-8"))
    assert found
    return found


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name_of)
def test_pages__a_misspelt_option_is_found(page):
    """Deliberate fault: one letter of the last option that the page gives, whether its command is run here or not."""
    text = page.read_text(encoding="utf-8")
    command = [step for step in steps(text) if isinstance(step, Command) and "acecausal" in step.line][-1]
    wrong = Command(re.sub(r"(.*\s--\w+)(\w)", r"\1\2q", command.line))
    if wrong.line == command.line:
        wrong = Command(f"{command.line} --outptu a.zarr")
    assert arguments(command.line) is not None
    with pytest.raises(AssertionError, match="No such option"):
        arguments(wrong.line)


FAULTS = {
    "option": ("```sh\nacecausal codebooks show wvs-sample --jsn\n```\n", "No such option '--jsn'"),
    "command": ("```sh\nacecausal estimat x.csv\n```\n", "No such command 'estimat'"),
    "in what is not run": ("```sh\naccelerate launch .venv/bin/acecausal align --cub x\n```\n", "No such option"),
    "exit code": ("```sh\nacecausal show none.zarr\n```\n", "exit code 1"),
    "output": ("```console\n$ acecausal codebooks show wvs-sample\nsomething else\n```\n", "something else"),
    "program": ("```sh\ncurl http://localhost\n```\n", "neither acecausal nor listed"),
    "script": ("```python\nassert 1 == 2, 'wrong'\n```\n", "wrong"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults__are_found(fault, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text, message = FAULTS[fault]
    with pytest.raises(AssertionError, match=message):
        follow(text, invoke)


# --- the pages --------------------------------------------------------------------------------------------------------


def sphinx(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = sphinx("-d", folder / "trees", DOCS, folder / "html")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder / "html"


def test_build__a_broken_link_is_an_error(tmp_path):
    """Deliberate fault, under the configuration of the documentation."""
    (tmp_path / "index.md").write_text("# Page\n\n[nowhere](nowhere.md)\n", encoding="utf-8")
    done = sphinx("-c", DOCS, tmp_path, tmp_path / "html")
    assert done.returncode != 0
    assert "nowhere.md" in done.stderr


def test_build__every_page_is_reached_from_the_start(site):
    """By the table of contents alone."""
    reached, waiting = set(), ["index"]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
        for block in re.findall(r"^```\{toctree\}\n(.*?)^```$", text, re.M | re.S):
            waiting += [line for line in block.splitlines() if line and not line.startswith(":")]
    pages = {str(path.relative_to(DOCS).with_suffix("")) for path in PAGES if path.is_relative_to(DOCS)}
    assert reached == pages
    start = (site / "index.html").read_text(encoding="utf-8")
    for name in pages - {"index"}:
        assert (site / f"{name}.html").exists()
        assert f'href="{name}.html"' in start


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_pages__link_to_files_that_are_there(page):
    """As they are read in the repository; within the pages Sphinx holds the headings, too."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("https://", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_build__needs_no_network(site):
    """Nothing that a browser would load by itself comes from elsewhere."""
    found = [path.read_text(encoding="utf-8") for path in site.rglob("*.html")]
    assert len(found) > len(PAGES) - 2
    for page in found:
        loaded = re.findall(r'<(?:script|img|link)\b[^>]*?\b(?:src|href)="([^"]+)"', page)
        assert loaded
        assert not [address for address in loaded if address.startswith(("http:", "https:", "//"))]


def test_build__no_mark_was_left_unread(site):
    """What Markdown or reStructuredText did not understand stands on the page as it was typed."""
    for path in site.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        article = page[page.index("<article") : page.index("</article>")] if "<article" in page else ""
        words = html.unescape(re.sub(r"<pre>.*?</pre>|<code.*?</code>|<[^>]+>", "", article, flags=re.S))
        for mark in ("```", "{{", "}}", ":func:", "](", "{eval-rst}", "\b"):
            assert mark not in words, (path.name, mark)
        assert not re.search(r"[–—]\w", words), f"{path.name}: -- was made a dash"


def commands(group: click.Group, name: str) -> Iterator[tuple[str, click.Command]]:
    for word, command in group.commands.items():
        yield f"{name} {word}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {word}")


def test_cli_page__has_every_command_and_option(site):
    page = (site / "cli.html").read_text(encoding="utf-8")
    found = dict(commands(main, "acecausal"))
    assert len(found) == len(main.commands) + 4
    for name, command in found.items():
        slug = name.replace(" ", "-")
        assert f'id="{slug}"' in page, name
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                (option, *_) = [opt for opt in parameter.opts if opt.startswith("--")]
                assert f'id="cmdoption-{slug}-{option.lstrip("-")}"' in page, (name, option)


def test_schema_page__has_the_whole_schema(site):
    page = (site / "schema.html").read_text(encoding="utf-8")
    for spec in schema.VARIABLES:
        assert f">{spec.name}<" in page, spec.name
        assert html.escape(spec.meaning, quote=False).split("'")[0] in page, spec.name
    dims = {dim for spec in schema.VARIABLES for dim in spec.dims}
    for word in (*schema.STATUS, *schema.VERDICTS, *schema.COORDINATES, *schema.ATTRS, *dims):
        assert f">{word}<" in page, word


def test_statistics_page__has_every_choice():
    from acecausal.estimation.plan import ESTIMANDS

    text = (DOCS / "statistics.md").read_text(encoding="utf-8")
    for word in (*ESTIMANDS, *ESTIMATORS, *schema.VERDICTS, *schema.LABELS["refuter"]):
        assert f"`{word}`" in text, word


def test_recipe_page__has_every_choice():
    from align.prompting.templates import TEMPLATES
    from align.prompting.wordings import MARKS
    from align.training.objectives import OBJECTIVES
    from align.training.recipe import Recipe
    from align.training.targets import SOURCES

    text = (DOCS / "howto" / "own-recipe.md").read_text(encoding="utf-8")
    for word in (*OBJECTIVES, *SOURCES, *MARKS, *TEMPLATES):
        assert re.search(rf"\b{word}\b", text), word
    for key in Recipe.model_fields:
        assert re.search(rf"^{key}:|`{key}\b", text, re.M), key


def test_survey_page__has_every_key():
    text = (DOCS / "howto" / "own-survey.md").read_text(encoding="utf-8")
    for key in Codebook.model_fields:
        assert re.search(rf"^{key}:|`{key}[:`]", text, re.M), key


def test_api_page__has_every_public_name(site):
    page = (site / "api.html").read_text(encoding="utf-8")
    for name in acecausal.__all__:
        assert f'id="acecausal.{name}"' in page, name
    for name in ("table", "significant", "pooled", "forest"):
        assert f'id="acecausal.report.accessor.AceAccessor.{name}"' in page, name
