"""Weights fill the model, all of them and no others; so do an adapter's. Made-up or dropped ones are an error."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_models import tiny_model as architecture
from transformers import AutoModelForCausalLM

from acecausal.errors import ModelError
from align.models import adapters, gguf
from align.models.gguf import convert_gguf, converted_folder
from align.models.identity import fingerprint
from align.models.load import load_model
from align.prompting.options import Prompt
from align.scoring.scorer import Scorer

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is_gradient_checkpointing.*:FutureWarning",
    "ignore::DeprecationWarning",
    "ignore:Model has `tie_word_embeddings=True`:UserWarning",  # about merging, which is not done here
)

#: Architecture, whether the head is tied to the embeddings, and a size at which the weights make several shards.
MODELS = [("llama", True, "20KB"), ("llama", False, "20KB"), ("gpt_neox", False, "1GB"), ("gpt2", True, "1GB")]


@pytest.fixture(params=MODELS, ids=lambda of: f"{of[0]}-{'tied' if of[1] else 'untied'}")
def folder(request, tiny_model, tmp_path):
    name, tied, size = request.param
    made = tmp_path / "model"
    shutil.copytree(tiny_model, made, ignore=shutil.ignore_patterns("*.safetensors"))
    architecture(name, vocab_size=258, tie_word_embeddings=tied).save_pretrained(made, max_shard_size=size)
    return made


def edit(folder, change) -> str:
    """Change the file that holds a matrix of the second layer; return the matrix's name."""
    files = {file: load_file(file) for file in sorted(folder.glob("*.safetensors"))}
    file, tensors, name = next(
        (file, tensors, name)
        for file, tensors in files.items()
        for name in sorted(tensors)
        if ".1." in name and tensors[name].ndim == 2
    )
    change(tensors, name)
    save_file(tensors, file, metadata={"format": "pt"})
    return name


def test_whole__loads_with_the_files_numbers(folder):
    """Oracle: the safetensors themselves."""
    model, _ = load_model(folder)
    state = model.state_dict()
    for file in folder.glob("*.safetensors"):
        for name, tensor in load_file(file).items():
            assert torch.equal(state[name.replace("embed_out", "lm_head")], tensor), name  # renamed by transformers


def test_missing_tensor(folder):
    name = edit(folder, lambda tensors, name: tensors.pop(name))
    with pytest.raises(ModelError, match=rf"(?s)not those of the model.*1 missing \({name}\)"):
        load_model(folder)


def test_unexpected_tensor(folder):
    edit(folder, lambda tensors, name: tensors.update({f"{name}.extra": torch.zeros(2)}))
    with pytest.raises(ModelError, match=r"(?s)not those of the model.*1 unexpected \(.*extra\)"):
        load_model(folder)


def test_mismatched_tensor(folder):
    edit(folder, lambda tensors, name: tensors.update({name: tensors[name][:-1].clone()}))
    with pytest.raises(ModelError):
        load_model(folder)


def test_a_layer_more_in_the_configuration(folder):
    """What was cut off a model, or never there, would be random numbers."""
    config = json.loads((folder / "config.json").read_text())
    key = "n_layer" if "n_layer" in config else "num_hidden_layers"
    config[key] += 1
    config.pop("layer_types", None)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"(?s)not those of the model.* missing"):
        load_model(folder)


def test_untied_head_that_is_not_there(tiny_model, tmp_path):
    made = tmp_path / "model"
    shutil.copytree(tiny_model, made)
    config = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    with pytest.raises(ModelError, match=r"1 missing \(lm_head.weight\)"):
        load_model(made)


def test_shard_that_is_not_there(tiny_model, tmp_path):
    made = tmp_path / "model"
    shutil.copytree(tiny_model, made, ignore=shutil.ignore_patterns("*.safetensors"))
    architecture("llama", vocab_size=258).save_pretrained(made, max_shard_size="20KB")
    shard = sorted(made.glob("model-*.safetensors"))[2]
    shard.unlink()
    for use in (load_model, fingerprint):
        with pytest.raises(ModelError, match=f"(?s)cannot be loaded.*{shard.name}"):
            use(made)
    for index in ("[]", "{", '{"weight_map": []}', '{"weight_map": {}}'):
        (made / "model.safetensors.index.json").write_text(index)
        with pytest.raises(ModelError, match=r"index\.json: cannot be read"):
            load_model(made)


# --- adapters ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[(), ("lm_head",)], ids=["lora", "lora and a head of its own"])
def adapter(request, tiny_model, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    config = LoraConfig(r=2, target_modules=["q_proj", "up_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    config.modules_to_save = list(request.param) or None
    torch.manual_seed(1)
    adapted = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "modules_to_save" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    adapted.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def change(adapter, how) -> None:
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file(how(tensors), file)


def test_adapter__whole(tiny_model, adapter):
    """Oracle: PEFT's own loader on transformers' own model. Same numbers, and not the base's."""
    ids = torch.arange(20)[None]
    with torch.no_grad():
        base = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
        plain = base(ids).logits
        expected = PeftModel.from_pretrained(base, adapter).eval()(ids).logits
        found = load_model(tiny_model, adapter)[0](ids).logits
        scores = Scorer(load_model(tiny_model, adapter)[0])
        prompt = Prompt(tuple(range(20)), ((3,), (200,), (77,)))
        options = expected[0, -1].log_softmax(-1)[[3, 200, 77]]
        torch.testing.assert_close(scores.log_probs([prompt])[0], options, rtol=0, atol=1e-5)
        among = scores.option_log_probs([prompt])[0]
        torch.testing.assert_close(among, options.log_softmax(-1), rtol=0, atol=1e-5)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert (found - plain).abs().max() > 0.01


def test_adapter__every_tensor_matters(tiny_model, adapter):
    """Each one taken away is missed; each one renamed is missed and has no place."""
    whole = load_file(adapter / "adapter_model.safetensors")
    assert len(whole) in (8, 9)
    for name in (sorted(whole)[0], sorted(whole)[-1]):
        save_file({n: t for n, t in whole.items() if n != name}, adapter / "adapter_model.safetensors")
        with pytest.raises(
            ModelError, match=rf"(?s)does not fit the model.*tensors: .*({name}.* missing|missing \({name})"
        ):
            load_model(tiny_model, adapter)
        renamed = {(f"{n}s" if n == name else n): t for n, t in whole.items()}
        save_file(renamed, adapter / "adapter_model.safetensors")
        with pytest.raises(
            ModelError, match=r"(?s)does not fit the model.*(1 without a place.*1 missing|lm_head.* missing)"
        ):
            load_model(tiny_model, adapter)


def test_adapter__whose_tensors_attach_to_nothing(tiny_model, adapter):
    change(adapter, lambda tensors: {n.replace("base_model.model.", "model."): t for n, t in tensors.items()})
    with pytest.raises(ModelError, match=r"(?s)does not fit the model.*(without a place|missing)"):
        load_model(tiny_model, adapter)
    change(adapter, lambda tensors: {})
    with pytest.raises(ModelError, match=r"(?s)does not fit the model.*missing"):
        load_model(tiny_model, adapter)


def test_adapter__of_other_layers_and_other_sizes(tiny_model, adapter):
    more = {"base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight": torch.zeros(2, 32)}
    change(adapter, lambda tensors: tensors | more)
    with pytest.raises(ModelError, match=r"(?s)does not fit the model.*1 without a place"):
        load_model(tiny_model, adapter)
    change(adapter, lambda tensors: {n: t for n, t in tensors.items() if n not in more})
    load_model(tiny_model, adapter)
    change(adapter, lambda tensors: {n: t[:1].clone() for n, t in tensors.items()})
    with pytest.raises(ModelError, match="does not fit the model"):
        load_model(tiny_model, adapter)


@pytest.mark.parametrize(
    ("key", "setting", "message"),
    [("lora_alpha", 0, "no strength"), ("lora_alpha", math.nan, "no strength"), ("lora_alpha", math.inf, "no strength"),
     ("alora_invocation_tokens", [1, 2], "behind words of its own"), ("alora_invocation_tokens", "x", "behind words"),
     ("r", 10**7, "a rank of 10000000"), ("rank_pattern", {"q_proj": 10**7}, "a rank of 10000000")],
)  # fmt: skip
def test_adapter__that_would_act_on_nothing_or_take_all_memory(tiny_model, adapter, key, setting, message):
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: setting}))
    with pytest.raises(ModelError, match=message):
        load_model(tiny_model, adapter)


def test_adapter__pickled_is_refused_at_once(tiny_model, adapter, tmp_path, monkeypatch):
    weights = adapter / "adapter_model.safetensors"
    torch.save(load_file(weights), adapter / "adapter_model.bin")
    weights.unlink()
    monkeypatch.setattr(torch, "load", lambda *args, **more: pytest.fail("a pickle was opened"))
    with pytest.raises(ModelError, match=r"(?s)has no safetensors.*adapter_model\.bin"):
        load_model(tiny_model, adapter)
    (adapter / "adapter_model.bin").unlink()
    with pytest.raises(ModelError, match="has no safetensors"):
        load_model(tiny_model, adapter)


CONFIGS = ["", "[]", "3", "null", "{}", '{"peft_type": 1}', '{"peft_type": "NONE"}', '{"peft_type": "LORA", "r": "x"}',
           '{"peft_type": "LORA", "r": -1, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}',
           '{"peft_type": "LORA", "r": 2, "target_modules": "(", "task_type": "CAUSAL_LM"}',
           '{"peft_type": "LORA", "r": 2, "target_modules": [], "task_type": "CAUSAL_LM"}', "[" * 100_000]  # fmt: skip


@pytest.mark.parametrize("text", CONFIGS, ids=lambda text: text[:40] or "empty")
@pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT's, on the way to its error
def test_adapter__configuration_of_any_shape_is_one_message(tiny_model, adapter, text):
    (adapter / "adapter_config.json").write_text(text)
    with pytest.raises(ModelError):
        load_model(tiny_model, adapter)


@pytest.mark.parametrize("where", [{"target_modules": "ENDLESS"}, {"rank_pattern": {"ENDLESS": 2}}])
def test_adapter__expressions_that_do_not_end(tiny_model, adapter, where, monkeypatch):
    monkeypatch.setattr(adapters, "SECONDS", 1)
    file = adapter / "adapter_config.json"
    config = json.loads(file.read_text()) | where
    file.write_text(json.dumps(config).replace("ENDLESS", "([a-z0-9_.]+)+#"))
    with pytest.raises(ModelError, match="does not end on the model's layers"):
        load_model(tiny_model, adapter)


def test_adapter__cut_off_or_not_finite(tiny_model, adapter):
    file = adapter / "adapter_model.safetensors"
    content = file.read_bytes()
    for cut in (0, 7, 100, len(content) - 1):
        file.write_bytes(content[:cut])
        with pytest.raises(ModelError, match="cannot be read"):
            load_model(tiny_model, adapter)
    file.write_bytes(content)
    change(adapter, lambda tensors: {n: t * (float("inf") if "up_proj" in n else 1) for n, t in tensors.items()})
    with pytest.raises(ModelError, match="not finite"):
        load_model(tiny_model, adapter)


# --- GGUF -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def write_gguf(tmp_path, monkeypatch):
    """Write a random Llama as GGUF, by gguf's own writer; tensors and fields can be left out or added."""
    from gguf import GGUFWriter, TokenType

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def write(name="tiny.gguf", *, without=(), more=(), scaling=None):
        path = tmp_path / name
        writer = GGUFWriter(path, "llama")
        width, heads, layers, vocabulary = 32, 4, 2, 260
        writer.add_context_length(256)
        writer.add_embedding_length(width)
        writer.add_block_count(layers)
        writer.add_feed_forward_length(64)
        writer.add_head_count(heads)
        writer.add_head_count_kv(heads)
        writer.add_layer_norm_rms_eps(1e-6)
        writer.add_vocab_size(vocabulary)
        if scaling:
            writer.add_string("llama.rope.scaling.type", scaling)
        tokens = ["<unk>", "<s>", "</s>", "▁"] + [f"<0x{byte:02X}>" for byte in range(256)]
        writer.add_tokenizer_model("llama")
        writer.add_token_list(tokens)
        writer.add_token_scores([0.0] * vocabulary)
        kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL, TokenType.NORMAL] + [TokenType.BYTE] * 256
        writer.add_token_types(kinds)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)
        draw = np.random.default_rng(0)
        shapes = {"token_embd.weight": (vocabulary, width), "output_norm.weight": (width,),
                  "output.weight": (vocabulary, width)}  # fmt: skip
        for n in range(layers):
            shapes |= {f"blk.{n}.attn_{part}.weight": (width, width) for part in ("q", "k", "v", "output")}
            shapes |= {f"blk.{n}.ffn_{part}.weight": (64, width) for part in ("gate", "up")}
            shapes |= {f"blk.{n}.ffn_down.weight": (width, 64)}
            shapes |= {f"blk.{n}.{part}_norm.weight": (width,) for part in ("attn", "ffn")}
        for tensor, shape in {**shapes, **dict(more)}.items():
            if tensor not in without:
                writer.add_tensor(tensor, draw.normal(0, 0.2, shape).astype(np.float32))
        for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
            step()
        writer.close()
        return path

    return write


def test_gguf__whole_is_converted_once_and_its_hash_is_the_files(write_gguf, monkeypatch):
    path = write_gguf()
    model, _ = load_model(path)
    assert torch.isfinite(model(torch.arange(3, 9)[None]).logits).all()
    assert fingerprint(path)["weights_sha256"] == fingerprint(path)["model_sha256"]
    kept = convert_gguf(path)
    monkeypatch.setattr(gguf, "check_loading", lambda *args: pytest.fail("converted again"))
    assert convert_gguf(path) == kept


def test_gguf__a_change_in_the_middle_is_another_model(write_gguf):
    path = write_gguf()
    before, kept = fingerprint(path), convert_gguf(path)
    content = bytearray(path.read_bytes())
    content[-20_000] ^= 64
    path.write_bytes(content)
    assert fingerprint(path)["model_sha256"] != before["model_sha256"]
    assert convert_gguf(path) != kept


def test_gguf__a_damaged_conversion_is_made_anew(write_gguf):
    """Oracle: the weights as first converted."""
    path = write_gguf()
    kept = convert_gguf(path)
    first = load_file(kept / "model.safetensors")
    spoiled = {name: tensor * 2 for name, tensor in first.items()}
    save_file(spoiled, kept / "model.safetensors", metadata={"format": "pt"})
    again = load_file(convert_gguf(path) / "model.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())
    (converted_folder(path) / "config.json").unlink()
    load_model(path)


@pytest.mark.parametrize("tensor", ["blk.1.ffn_up.weight", "blk.0.attn_norm.weight", "output_norm.weight"])
def test_gguf__missing_tensor(write_gguf, tensor):
    with pytest.raises(ModelError, match=r"(?s)not those of the model.*1 missing"):
        load_model(write_gguf(without=(tensor,)))


def test_gguf__tensors_and_scaling_that_transformers_leaves_out(write_gguf):
    """It drops biases that its Llama does not have, and scaled positions, without a word."""
    with pytest.raises(ModelError, match=r"(?s)leaves out.*blk\.0\.attn_q\.bias"):
        load_model(write_gguf(more={"blk.0.attn_q.bias": (32,)}.items()))
    with pytest.raises(ModelError, match=r"(?s)leaves out.*rope_freqs\.weight"):
        load_model(write_gguf(more={"rope_freqs.weight": (4,)}.items()))
    with pytest.raises(ModelError, match=r"(?s)leaves out.*rope\.scaling\.type linear"):
        load_model(write_gguf(scaling="linear"))
    load_model(write_gguf(scaling="none"))
