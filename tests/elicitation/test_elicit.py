"""Prompts and elicitation with a tiny random model."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from acecausal.cube import schema
from acecausal.cube.check import validate
from acecausal.cube.files import Value, build, countries_of, lattice_of, open_cube, values_of, write_cube
from acecausal.errors import AceError, ModelError
from acecausal.survey.codebook import Codebook, load_codebook
from align.elicitation.backends import Answers, InProcess
from align.elicitation.elicit import elicit, sample_text
from align.models.adapters import adapter_record
from align.models.gguf import convert_gguf
from align.models.identity import fingerprint
from align.models.load import load_model
from align.models.tokenizer import load_tokenizer
from align.prompting.prompts import ANYBODY, compose, describe, encode, lattice_texts, render
from align.prompting.templates import TEMPLATES
from align.prompting.wordings import LISTING, ORDERS, Wording, crossed, option_marks, positions

DIGITS = Wording(marks="digits")


@pytest.fixture(scope="module")
def loaded(tiny_model):
    return load_model(tiny_model)


@pytest.fixture(scope="module")
def asked(loaded, human):
    return elicit(InProcess(*loaded), human, wordings=[DIGITS])


def test_prompt__says_question_options_and_persona_last(loaded, human):
    text, _ = render(loaded[1], sample_text(human, DIGITS))
    assert text.startswith("<|im_start|>system\n")
    assert text.endswith("45 or older<|im_end|>\n<|im_start|>assistant\nOption")
    for part in ("Country: Australia", values_of(human)[0].question, "1. Too little\n2. About right\n3. Too much\n"):
        assert part in text
    lattice = lattice_of(human)
    assert describe(lattice, lattice.codes[0]) == ANYBODY
    assert describe(lattice, lattice.codes[-1]) == "a woman, with a university degree, religious, 45 or older"


def test_prompt__plain_text_without_chat_template_and_without_system_role(tiny_model, human):
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "<|im_start|>{{ messages[0].content }}"
    )
    country, value = countries_of(human)[0], values_of(human)[0]
    composed = compose(country, value, "x", DIGITS)
    text, special = render(tokenizer, composed)
    assert text.startswith("<|im_start|>You answer")
    assert not special
    tokenizer.chat_template = None
    text, special = render(tokenizer, composed)
    assert text.startswith("You answer")
    assert text.endswith("Person: x\nAnswer: Option")
    assert special


def test_option_marks__letters_beyond_nine(loaded, ess_cube):
    assert option_marks(9, "digits")[-1] == "9"
    assert option_marks(11, "digits") == list("ABCDEFGHIJK")
    value = values_of(ess_cube)[0]
    prompts = encode(loaded[1], lattice_texts(countries_of(ess_cube)[0], value, lattice_of(ess_cube), DIGITS))
    assert len(prompts) == 36
    assert {len(prompt.options) for prompt in prompts} == {11}
    assert "K. 10 - Good for the economy" in sample_text(ess_cube, DIGITS).plain


def test_elicit__equals_scoring_by_hand(loaded, asked, human):
    """Oracle: one plain forward pass per persona, softmax over the option tokens of the full distribution. atol 1e-5
    (fp32, packed against single)."""
    model, tokenizer = loaded
    lattice, country, value = lattice_of(human), countries_of(human)[1], values_of(human)[0]
    checked = 0
    for p in (0, 5, 40, 80):
        text, _ = render(tokenizer, compose(country, value, describe(lattice, lattice.codes[p]), DIGITS))
        log_p = []
        for mark in "123":
            ids = torch.tensor([tokenizer(text + " " + mark, add_special_tokens=False)["input_ids"]])
            with torch.no_grad():
                logits = model(ids).logits[0].log_softmax(-1)
            log_p.append(float(logits[-3, ids[0, -2]] + logits[-2, ids[0, -1]]))  # the space, then the digit
        prob = np.exp(log_p)
        cell = asked.isel(country=1, value=0, persona=p)
        np.testing.assert_allclose(cell.response, prob / prob.sum(), atol=1e-5)
        assert float(cell.option_mass) == pytest.approx(prob.sum(), rel=1e-3)
        checked += 1
    assert checked == 4
    assert np.ptp(asked.response.values, axis=2).max() > 0.01  # personas matter, so the test can fail


def test_elicit__cube_is_complete(asked, human):
    """Oracle of one shift: religion and age held fixed by a loop over labels, weighted by shares. atol 1e-12."""
    validate(asked)
    assert asked.attrs["kind"] == "model"
    assert asked.attrs["method"] == "trie"
    assert asked.attrs["model_effect"] == "like for like"
    assert int(np.isin(asked.status, [schema.OK, schema.TOO_FEW]).sum()) == 4 * 108
    assert (asked.status.values[human.status.values == schema.OK] == schema.OK).all()
    assert asked.persona.values.tolist() == human.persona.values.tolist()
    at = {"country": "Norway", "attribute": "degree:degree", "value": "poverty", "persona": "gender=female"}
    cells = {"country": "Norway", "value": "poverty"}
    response, share, n = asked.response.sel(cells), human["share"].sel(cells), human["n"].sel(cells)
    shift, total = 0.0, 0.0
    for religion, age in itertools.product(("none", "religious"), ("under_45", "45_plus")):
        rest = f"religion={religion},age={age}"
        ends = [f"gender=female,degree={degree},{rest}" for degree in ("no_degree", "degree")]
        if min(int(n.sel(persona=end)) for end in ends) >= 5:
            weight = float(share.sel(persona=f"gender=female,{rest}"))
            shift = shift + weight * (response.sel(persona=ends[1]).values - response.sel(persona=ends[0]).values)
            total += weight
    np.testing.assert_allclose(asked["shift"].sel(at), shift / total, atol=1e-12)
    assert float(asked.effect.sel(at)) == pytest.approx(float((shift / total) @ [0, 0.5, 1]), abs=1e-12)
    plain = [response.sel(persona=f"gender=female,degree={degree}").values for degree in ("no_degree", "degree")]
    assert np.abs(plain[1] - plain[0] - shift / total).max() > 1e-4


def test_elicit__records_the_prompts_as_rendered(loaded, human):
    """Oracle: the tokenizer's own template, text by text, hashed here; one changed word changes the hash."""
    import hashlib
    import json

    tokenizer = loaded[1]
    two = human.isel(country=[0, 1])
    lattice, value, digest = lattice_of(two), values_of(two)[0], hashlib.sha256()
    ways = (DIGITS, Wording("interview", "reversed", "digits"))
    for country in countries_of(two):
        for way in ways:
            for text in lattice_texts(country, value, lattice, way):
                turns = [{"role": "system", "content": text.system}, {"role": "user", "content": text.user}]
                written = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True) + text.lead
                digest.update(json.dumps([written, text.options]).encode())
    cube = elicit(InProcess(*loaded), two, wordings=ways)
    assert cube.attrs["prompts_sha256"] == digest.hexdigest()
    last = {
        "role": "user",
        "content": lattice_texts(countries_of(two)[0], value, lattice, DIGITS)[-1].user,
    }
    assert cube.attrs["prompt_example"].count(last["content"]) == 1
    assert cube.attrs["prompt_example"].startswith("<|im_start|>system")
    asked_otherwise = two.assign_coords(question=("value", ["How do you feel?"]))
    assert elicit(InProcess(*loaded), asked_otherwise, wordings=ways).attrs["prompts_sha256"] != digest.hexdigest()


def test_ask__a_model_that_does_not_fit_the_memory(loaded, monkeypatch):
    backend = InProcess(*loaded)

    def full(*args, **more):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(backend.scorer, "log_probs", full)
    with pytest.raises(ModelError, match=r"(?s)does not fit the memory.*bfloat16 takes half"):
        backend.ask([])


def test_load__what_is_no_model(tmp_path, tiny_model):
    import shutil

    with pytest.raises(ModelError, match="no such folder"):
        load_model(tmp_path / "none")
    with pytest.raises(ModelError, match="no such file"):
        load_model(tmp_path / "none.gguf")
    (tmp_path / "junk.gguf").write_bytes(b"GGUFjunk")
    with pytest.raises(ModelError, match="not a GGUF model"):
        convert_gguf(tmp_path / "junk.gguf")
    with pytest.raises(ModelError, match="no usable tokenizer"):
        load_model(tmp_path)
    with pytest.raises(ModelError, match="precision: unknown name"):
        load_model(tiny_model, precision="fp16")
    with pytest.raises(ModelError, match="precision: does not go with it"):
        load_model(tiny_model, precision="float32", quantise="nf4")
    bare = tmp_path / "bare"
    shutil.copytree(tiny_model, bare)
    (bare / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(bare)
    with pytest.raises(ModelError, match="no adapter folder"):
        load_model(tiny_model, bare)
    untold = tmp_path / "untold"
    shutil.copytree(tiny_model, untold)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (untold / name).unlink()
    with pytest.raises(ModelError, match="no usable tokenizer"):
        load_model(untold)
    assert adapter_record(bare) == {}


def test_pickled_weights__are_refused(tmp_path, tiny_model, loaded):
    import shutil

    pickled = tmp_path / "pickled"
    shutil.copytree(tiny_model, pickled)
    (pickled / "model.safetensors").unlink()
    torch.save(loaded[0].state_dict(), pickled / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(pickled)


def test_fingerprint__names_no_path(tiny_model):
    told = fingerprint(tiny_model)
    assert told["model"] == "tiny"
    assert len(told["model_sha256"]) == 64


def test_broken_numbers__stop_the_elicitation(tiny_model, human):
    model, tokenizer = load_model(tiny_model)
    from align.scoring.scorer import Scorer

    scorer = Scorer(model)
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        elicit(InProcess(model, tokenizer, scorer), human)


def test_wordings__are_averaged_and_their_spread_is_the_error(loaded, human):
    """Oracle: each wording elicited alone; mean, and half the difference of two, atol 2e-6 (sums in another order)."""
    norway, backend = human.sel(country=["Norway"]), InProcess(*loaded)
    ways = (DIGITS, Wording("interview", "reversed", "digits"))
    both = elicit(backend, norway, wordings=ways)
    one, other = (elicit(backend, norway, wordings=[way]) for way in ways)
    validate(both)
    assert (both.n == 2).all()
    assert "response_se" not in one
    for name in ("response", "shift", "effect"):
        np.testing.assert_allclose(both[name], (one[name] + other[name]) / 2, atol=2e-6)
        np.testing.assert_allclose(both[f"{name}_se"], np.abs(one[name] - other[name]) / 2, atol=2e-6)
    np.testing.assert_allclose(both.option_mass, (one.option_mass + other.option_mass) / 2, atol=2e-6)
    assert float(both.response_se.max()) > 0.01
    assert both.attrs["templates"] == '["persona-last", "interview"]'
    assert both.attrs["orders"] == '["forward", "reversed"]'
    with pytest.raises(AceError, match="expected different ones"):
        elicit(backend, norway, wordings=[DIGITS, DIGITS])


WAYS = [("persona-last", "reversed", "digits"), ("ace-align", "forward", "digits"), ("interview", "forward", "labels"),
        ("ace-align", "reversed", "letters")]  # fmt: skip


@pytest.mark.parametrize("wording", [Wording(*way) for way in WAYS])
def test_wordings__equal_scoring_by_hand(loaded, human, wording):
    """Oracle: the prompt put together here, one plain pass per option, in the order of meaning. atol 1e-5."""
    model, tokenizer = loaded
    lattice, country, value = lattice_of(human), countries_of(human)[1], values_of(human)[0]
    shown = list(enumerate(value.options))
    shown = shown[::-1] if wording.order == "reversed" else shown
    marks = {"digits": "123", "letters": "ABC"}.get(wording.marks)
    lines = [f"{marks[i]}. {label}" if marks else f"- {label}" for i, (_, label) in enumerate(shown)]
    answers = {k: marks[i] if marks else label for i, (k, label) in enumerate(shown)}
    persona = describe(lattice, lattice.codes[30])
    (composed,) = lattice_texts(country, value, lattice, wording, [30])
    assert "\n".join(lines) in composed.user
    assert persona in composed.user
    assert value.question in composed.user
    text, special = render(tokenizer, composed)
    assert special == (wording.template == "ace-align")
    space = "" if wording.template == "ace-align" else " "
    log_p = []
    for k in range(3):
        start, ids = (tokenizer(text + t, add_special_tokens=False)["input_ids"] for t in ("", space + answers[k]))
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        log_p.append(sum(float(logits[i - 1, ids[i]]) for i in range(len(start), len(ids))))
    prob = np.exp(log_p)
    cell = elicit(InProcess(model, tokenizer), human.isel(country=[1]), wordings=[wording]).isel(country=0, value=0)
    np.testing.assert_allclose(cell.response.values[30], prob / prob.sum(), atol=1e-5)
    assert np.ptp(prob / prob.sum()) > 0.05  # so that an order mixed up would show


def test_placeholders__are_filled_or_refused(human):
    country, value = countries_of(human)[1], values_of(human)[0]
    asked = compose(country, replace(value, question="Do you trust [Country]'s police?"), "x", DIGITS)
    assert "Do you trust Norway's police?" in asked.user
    with pytest.raises(AceError, match=r"\[COUNTRY LANGUAGE\]"):
        compose(country, replace(value, question="Do you speak [COUNTRY LANGUAGE]?"), "x", DIGITS)


def test_wording__unknown_names(human):
    for field, name in (("template", "persona-lst"), ("order", "reverse"), ("marks", "digit"), ("order", "permuted")):
        with pytest.raises(AceError, match="unknown name"):
            Wording(**{field: name})
    with pytest.raises(AceError, match="26 at most"):
        option_marks(27, "digits")


def test_order__pinned_options_keep_their_place(human):
    """Oracle: the order written out here."""
    country = countries_of(human)[0]
    value = Value("v", "What?", "t", "nominal", ("Low", "Other", "High", "None of these"), (False, True, False, True))
    lines = {
        order: compose(country, value, "x", Wording(order=order, marks="digits")).user.splitlines()[2:6]
        for order in ORDERS
    }
    assert lines["forward"] == ["1. Low", "2. Other", "3. High", "4. None of these"]
    assert lines["reversed"] == ["1. High", "2. Other", "3. Low", "4. None of these"]
    assert compose(country, value, "x", Wording(order="reversed", marks="digits")).options == (" 3", " 2", " 1", " 4")
    free = replace(value, pinned=())
    assert positions(free, "reversed") == [3, 2, 1, 0]


@pytest.mark.parametrize("template", [name for name in TEMPLATES if name not in LISTING])
def test_unlisted__no_option_is_told(human, template):
    """The same words but for the list and what announces it; answers are the same."""
    country, value = countries_of(human)[0], values_of(human)[0]
    bare, listed = (compose(country, value, "a man", Wording(template, order)) for order in ("unlisted", "forward"))
    assert bare.options == listed.options == tuple(f" {option}" for option in value.options)
    shown = f"{bare.system}\n{bare.user}"
    assert not any(option.lower() in shown.replace(value.question, "").lower() for option in value.options)
    assert not re.search("these:|Tick|between:|\\n\\n|\\n$", shown)
    assert all(part in shown for part in (value.question, "a man", country.label))


def test_unlisted__is_for_own_words():
    for template, marks in (("interview", "digits"), ("interview", "letters"), ("ace-align", "labels")):
        with pytest.raises(AceError, match="cannot be asked"):
            Wording(template, "unlisted", marks)
    several = crossed(("interview", "ace-align"), ("forward", "unlisted"), ("labels", "digits"))
    assert [w.label for w in several if w.order == "unlisted"] == ["interview unlisted labels"]
    assert len(several) == 5
    with pytest.raises(AceError, match="cannot be asked"):
        crossed(("interview",), ("unlisted",), ("digits",))


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_order__pins_travel_from_codebook_to_cube(human, tmp_path, suffix):
    raw = load_codebook("wvs-sample").model_dump(mode="json")
    raw["values"]["poverty"]["options"][2]["pinned"] = True
    (value,) = [Codebook.model_validate(raw).value("poverty")]
    assert value.pinned == (False, False, True)
    assert load_codebook("wvs-sample").value("poverty").pinned == ()
    lattice, countries = lattice_of(human), countries_of(human)
    arrays = {name: human[name].values for name in human.data_vars}
    labels = {dim: human[dim].values for dim in ("modifier", "covariate") if dim in human.dims}
    cube = build("survey", countries, [value], lattice, arrays, {"estimand": "direct"}, labels)
    read = open_cube(write_cube(cube, tmp_path / f"pinned{suffix}"))
    assert values_of(read) == [value]
    assert "option_pinned" not in human.coords
    shown = compose(countries[0], values_of(read)[0], "x", Wording(order="reversed", marks="digits")).user
    assert "1. About right\n2. Too little\n3. Too much\n" in shown


class Lists:
    """A server's lists without a server: in the first of some wordings, some personas have no listed option."""

    def __init__(self, missing, wordings=1):
        self.missing, self.wordings, self.asked = missing, wordings, 0

    def rendered(self, text):
        return text.plain

    def ask(self, texts):
        rng = np.random.default_rng(self.asked)
        log_probs = np.log(rng.dirichlet(np.ones(len(texts[0].options)), len(texts)) * 0.9)
        imputed = np.full(len(texts), 0.1)
        first = slice(len(texts) // self.wordings)
        log_probs[first][self.missing], imputed[first][self.missing] = np.nan, np.nan
        self.asked += 1
        return Answers(log_probs, np.full(len(texts), 0.05), imputed)

    def provenance(self):
        return {}


@pytest.mark.parametrize("n_wordings", [1, 2])
def test_elicit__a_prompt_without_options_is_a_missing_cell(human, n_wordings):
    """Of two wordings the first lists nothing: what remains is not compared with what was asked in both."""
    ways = [DIGITS, Wording("interview", marks="digits")][:n_wordings]
    norway = human.sel(country=["Norway"]).drop_vars("share")  # plain differences: each is of two personas
    cube = elicit(Lists([3, 17], n_wordings), norway, wordings=ways)
    assert cube.attrs["model_effect"] == "plain difference"
    validate(cube)
    gone = np.isin(np.arange(81), [3, 17])
    assert cube.attrs["prompts_missing"] == 2
    assert (cube.n.values[0, 0] == np.where(gone, 0, n_wordings)).all()
    for name in ("response", "option_mass", "imputed_share"):
        there = np.isfinite(cube[name].values[0, 0])
        assert ((there.all(axis=-1) if there.ndim > 1 else there) == ~gone).all()
    contrast, context, low, high = lattice_of(human).edges.T
    status = cube.status.values[0][contrast, 0, context]
    wanted = np.where(gone[low] | gone[high], schema.FAILED, schema.OK)
    assert (status == wanted).all()
    assert (status == schema.FAILED).sum() > 2
    assert float(cube.imputed_share.mean()) == pytest.approx(0.1, abs=1e-12)


def test_elicit__nothing_listed_at_all(human):
    with pytest.raises(ModelError, match="lists no option of any persona"):
        elicit(
            Lists(slice(None), 2),
            human.sel(country=["Norway"]),
            wordings=[DIGITS, Wording("interview", marks="digits")],
        )
