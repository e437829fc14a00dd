"""Which model a cube and an adapter belong to: any change of weights, tokenizer or chat template is another model."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_model as architecture

from acecausal.errors import ModelError
from align.models import hashes
from align.models.adapters import adapter_record, hash_adapter
from align.models.hashes import hash_file
from align.models.identity import differing, fingerprint, provenance
from align.models.load import load_model
from align.models.sources import weight_files

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

PARTS = {"weights_sha256", "tokenizer_sha256", "template_sha256"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "acecausal"


@pytest.fixture
def sharded(tiny_model, tmp_path):
    """An untied GPT-NeoX of more than two megabytes, in several shards, with the tiny tokenizer."""
    folder = tmp_path / "sharded"
    shutil.copytree(tiny_model, folder)
    for old in folder.glob("*.safetensors"):
        old.unlink()
    model = architecture("gpt_neox", vocab_size=258, hidden_size=128, intermediate_size=512, tie_word_embeddings=False)
    model.save_pretrained(folder, max_shard_size="700KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 3
    return folder


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    assert (before["model_sha256"] != after["model_sha256"]) == (before != after)
    return {part for part in PARTS if before[part] != after[part]}


def flip_a_bit(file, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


def test_every_shard_counts_and_every_byte(sharded):
    """A bit in the middle of any shard; the first and last megabyte of a file are not enough."""
    before = fingerprint(sharded)
    assert before["model"] == "sharded"
    for shard in sorted(sharded.glob("model-*.safetensors")):
        size = shard.stat().st_size
        flip_a_bit(shard, size // 2)
        assert changed(before, fingerprint(sharded)) == {"weights_sha256"}, shard.name
        flip_a_bit(shard, size // 2)
    assert fingerprint(sharded) == before


def test_a_bit_in_the_middle_of_a_large_file(tmp_path):
    """Oracle: hashlib over the whole file of 5 MB."""
    file = tmp_path / "large"
    file.write_bytes(bytes(5 << 20))
    before = hash_file(file)
    flip_a_bit(file, 5 << 19)
    assert hash_file(file) == hashlib.sha256(file.read_bytes()).hexdigest() != before


def test_weights_that_are_not_loaded_do_not_count(sharded):
    before = fingerprint(sharded)
    save_file({"x": torch.zeros(3)}, sharded / "consolidated.safetensors")
    (sharded / "README.md").write_text("A model.")
    assert fingerprint(sharded) == before
    assert {file.name for file in weight_files(sharded)} == {file.name for file in sharded.glob("model-*.safetensors")}


def test_config_tokenizer_and_template_count_apart(tiny_model, tmp_path):
    before = fingerprint(tiny_model)

    def of(name: str, old: str, new: str) -> set[str]:
        folder = tmp_path / name / "tiny"
        shutil.copytree(tiny_model, folder, dirs_exist_ok=True)
        for file in (folder / name, folder / "chat_template.jinja"):
            if file.exists() and old in file.read_text(encoding="utf-8"):
                file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
                return changed(before, fingerprint(folder))
        raise AssertionError(name)

    assert of("config.json", '"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05') == {"weights_sha256"}
    assert of("tokenizer.json", '"type": "BPE"', '"type": "BPE" ') == {"tokenizer_sha256"}
    assert of("chat_template.jinja", "assistant", "model") == {"template_sha256"}


def test_a_template_inside_the_tokenizers_settings_is_the_same_template(tiny_model, tmp_path):
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_model, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["chat_template"] = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert fingerprint(folder) == fingerprint(tiny_model)


def test_hashes_are_kept_until_the_file_changes(tmp_path, cache, monkeypatch):
    file = tmp_path / "weights"
    file.write_bytes(b"a" * 100)
    first = hash_file(file)
    assert not (cache / "sha256").exists()  # it could change again within the clock's tick
    monkeypatch.setattr(hashes, "SETTLED", -1.0)
    hash_file(file)
    (kept,) = (cache / "sha256").iterdir()
    kept.write_text(kept.read_text().replace(first, "0" * 64))
    assert hash_file(file) == "0" * 64  # not read again
    times = file.stat()
    file.write_bytes(b"b" * 100)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a copy that keeps the times would
    assert hash_file(file) == hashlib.sha256(b"b" * 100).hexdigest()
    kept.write_text("nonsense")
    assert hash_file(file) == hashlib.sha256(b"b" * 100).hexdigest()


# --- the hub ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tiny_model, tmp_path, monkeypatch):
    """A hub cache as huggingface_hub lays it out: two commits of one repository, which differ in their template."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    name = f"org/{tmp_path.name}"
    repository = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
    commits = {"main": "a" * 40, "v2": "b" * 40}
    for ref, commit in commits.items():
        shutil.copytree(tiny_model, repository / "snapshots" / commit)
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / ref).write_text(commit)
    template = repository / "snapshots" / commits["v2"] / "chat_template.jinja"
    template.write_text(template.read_text().replace("assistant", "model"))
    return name, commits


def test_hub_id__records_the_commit(hub, tiny_model):
    name, commits = hub
    told = {ref: fingerprint(name, ref) for ref in commits}
    assert {ref: found["revision"] for ref, found in told.items()} == commits
    assert {found["model"] for found in told.values()} == {name}
    assert fingerprint(name)["revision"] == commits["main"]
    assert fingerprint(name, commits["v2"]) == told["v2"]
    assert changed(told["main"], {**told["v2"], "revision": commits["main"]}) == {"template_sha256"}
    local = fingerprint(tiny_model)
    assert all(told["main"][part] == local[part] for part in PARTS)
    assert "model<" not in load_model(name)[1].chat_template
    assert "model" in load_model(name, revision="v2")[1].chat_template


def test_hub_id__what_is_not_there(hub, tiny_model):
    name, _ = hub
    with pytest.raises(ModelError, match="cannot be had from the hub"):
        fingerprint(name, "v3")
    with pytest.raises(ModelError, match="cannot be had from the hub"):
        load_model("org/nothing")
    with pytest.raises(ModelError, match="--revision: is for hub ids"):
        load_model(tiny_model, revision="main")


# --- adapters ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def adapter(tiny_model, tmp_path):
    """An adapter that says what it was trained on."""
    from peft import LoraConfig, get_peft_model

    model, _ = load_model(tiny_model)
    torch.manual_seed(0)
    folder = tmp_path / "adapter"
    get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)).save_pretrained(folder)
    (folder / "acecausal.json").write_text(json.dumps({**fingerprint(tiny_model), "held_out": {"country": ["USA"]}}))
    return folder


def test_adapter__is_refused_on_another_model_unless_told(tiny_model, adapter, tmp_path):
    assert provenance(tiny_model, adapter)["adapter_base"] == "same"
    load_model(tiny_model, adapter)
    other = tmp_path / "tiny"  # of the same name
    shutil.copytree(tiny_model, other)
    weights = load_file(other / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 3] += 0.5
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    (other / "chat_template.jinja").write_text((other / "chat_template.jinja").read_text().replace("assistant", "m"))
    with pytest.raises(ModelError, match=r"(?s)trained on another model.*another weights, another chat template"):
        load_model(other, adapter)
    load_model(other, adapter, model_differs=True)
    attrs = provenance(other, adapter)
    assert attrs["adapter_base"] == "differs"
    assert attrs["held_out"] == {"country": ["USA"]}
    (adapter / "acecausal.json").unlink()
    load_model(other, adapter)
    assert provenance(other, adapter)["adapter_base"] == "unknown"


def test_adapter__its_hash_covers_how_strongly_it_acts(adapter):
    before = hash_adapter(adapter)
    config = (adapter / "adapter_config.json").read_text()
    (adapter / "adapter_config.json").write_text(config.replace('"lora_alpha": 8', '"lora_alpha": 16'))
    assert hash_adapter(adapter) != before


def test_differing__in_words(tiny_model):
    base = fingerprint(tiny_model)
    assert differing(base, base) == []
    assert differing({**base, "tokenizer_sha256": "x"}, base) == ["tokenizer"]


RECORDS = {
    "a list": "[1, 2]",
    "a number": "3",
    "null": "null",
    "cut off": '{"recipe": {',
    "deep": "[" * 100_000,
    "recipe is a list": '{"recipe": ["nf4"]}',
    "recipe is text": '{"recipe": "default"}',
    "orders is a number": '{"recipe": {"orders": 3}}',
    "orders of numbers": '{"recipe": {"orders": [1]}}',
    "marks is null": '{"recipe": {"marks": null}}',
    "templates are a mapping": '{"recipe": {"templates": {}}}',
    "precision unknown": '{"recipe": {"precision": "fp8"}}',
    "held_out is text": '{"held_out": "country"}',
    "held_out of texts": '{"held_out": {"country": "USA"}}',
    "model is a number": '{"model": 3}',
    "hash is null": '{"weights_sha256": null}',
}


@pytest.mark.parametrize("name", RECORDS)
def test_adapter_record__of_any_shape_is_one_message(adapter, tiny_model, name):
    (adapter / "acecausal.json").write_text(RECORDS[name])
    for use in (adapter_record, lambda folder: load_model(tiny_model, folder)):
        with pytest.raises(ModelError, match=r"acecausal\.json: (cannot be read|is not as align writes it)"):
            use(adapter)


def test_base__an_adapters_folder_is_no_model(adapter, tiny_model):
    """transformers would put it on whatever the configuration names."""
    with pytest.raises(ModelError, match="holds an adapter"):
        load_model(adapter)
    with pytest.raises(ModelError, match="holds an adapter"):
        fingerprint(adapter)
