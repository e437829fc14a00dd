"""Simulated worlds: the truth against brute force, and samples that have the properties asked for."""

from __future__ import annotations

import numpy as np
import pytest

from acecausal.cube import schema
from acecausal.cube.files import lattice_of
from acecausal.errors import AceError
from acecausal.estimation.estimate import estimate
from acecausal.estimation.plan import make_plan
from acecausal.simulation.surveys import CLUSTER_ANSWER, CLUSTER_ATTRIBUTE, _between_strata, draw, simulate
from acecausal.simulation.truth import truth
from acecausal.simulation.world import AGE, AGE_SHARE, AGES, BASE, EFFECTS, STRATUM, World

MANY = 2_000_000


@pytest.fixture(scope="module")
def world() -> World:
    return World.make(values=3, options=[2, 5, 11], attributes=3, levels=[2, 3, 2], mediation=0.2, seed=3)


@pytest.fixture(scope="module")
def cells(world):
    """2,000,000 respondents of `draw`, tabulated: levels of the 12 cells, respondents by cell, value and option."""
    survey = draw(world, MANY, 0)
    cell = np.ravel_multi_index(tuple(survey.attributes.values()), world.levels)
    levels = np.array(list(np.ndindex(world.levels)))
    counts = [
        np.bincount(cell * k + answers, minlength=len(levels) * k).reshape(-1, k)
        for k, answers in zip(world.options, survey.values.values(), strict=True)
    ]
    return levels, counts


def test_truth__responses_by_brute_force(world, cells):
    """Oracle: raw shares of 2,000,000 draws for each persona; largest of 600 z values below 4.5."""
    cube = truth(world)
    levels, counts = cells
    z = []
    for p, rows in enumerate(lattice_of(cube).match(levels)):
        for v, k in enumerate(world.options):
            count = counts[v][rows].sum(axis=0)
            expected = cube.response.values[0, v, p, :k]
            z += list((count / count.sum() - expected) / np.sqrt(expected * (1 - expected) / count.sum()))
    assert len(z) > 600
    assert np.abs(z).max() < 4.5
    assert np.std(z) == pytest.approx(1, abs=0.3)


def test_truth__associations_by_brute_force(world, cells):
    """Oracle: raw differences of mean scores of 2,000,000 draws, on every edge; largest of 126 z values below 4.5."""
    cube = truth(world, estimand="association")
    levels, counts = cells
    lattice = lattice_of(cube)
    matched = lattice.match(levels)
    z = []
    for t, context, low, high in lattice.edges:
        for v, k in enumerate(world.options):
            score, arms = np.arange(k) / (k - 1), []
            for p in (low, high):
                count = counts[v][matched[p]].sum(axis=0)
                mean = count @ score / count.sum()
                arms.append((mean, (count @ score**2 / count.sum() - mean**2) / count.sum()))
            found = cube.effect.values[0, t, v, context]
            z.append((arms[1][0] - arms[0][0] - found) / np.sqrt(arms[0][1] + arms[1][1]))
    assert len(z) == 126
    assert np.abs(z).max() < 4.5
    assert np.std(z) == pytest.approx(1, abs=0.4)


def by_law(world, age, luck, fixed):
    """Levels of people from the fields of a world, attribute by attribute; the one that is fixed is not drawn."""
    z = (AGES[age] - AGE_SHARE @ AGES) / (80 - AGE_SHARE @ AGES)
    people = []
    for a, share in enumerate(world.share):
        off = 1 - share[0] + world.on_age[a] * z
        if a > 0:
            off = off + world.on_previous[a] * ((people[-1] > 0) - (1 - world.share[a - 1][0]))
        level = np.zeros(len(age), dtype=int)
        left = luck[a]
        for i in range(len(share) - 1, 0, -1):  # from the last level down, what is left is the baseline
            part = off * share[i] / (1 - share[0])
            level[(left >= 0) & (left < part)] = i
            left = np.where(left < part, -1, left - part)
        people.append(np.full(len(age), fixed[1]) if a == fixed[0] else level)
    return people, z


def lam_by_law(world, people, z, v):
    """Share of the high answer of one value in the first country."""
    lam = world.base[0, v] + world.on_answer_age[0, v] * z
    for a, level in enumerate(people):
        lam = lam + world.main[a][0, v][level]
        if a > 0:
            lam = lam + world.interaction[a - 1][0, v][people[0], level]
    return lam


@pytest.mark.parametrize("estimand", ["direct", "total"])
@pytest.mark.parametrize(("attribute", "contrast"), [(0, "gender:level1"), (1, "education:level2")])
def test_truth__interventions_by_brute_force(world, estimand, attribute, contrast):
    """Oracle: 500,000 people of the law as written in the docstring, with the attribute set; 4.5 errors of the mean.

    For the total effect what comes after the attribute is drawn again after setting it. Contexts: all, and one of an
    attribute that nothing moves but age (gender) for the second.
    """
    rng = np.random.default_rng(1)
    n = 500_000
    age = rng.choice(len(AGES), n, p=AGE_SHARE)
    luck = rng.random((3, n))
    natural, z = by_law(world, age, luck, (None, None))
    cube = truth(world, estimand=estimand)
    level = int(contrast[-1])
    arms = []
    for setting in (0, level):
        if estimand == "total":
            people = by_law(world, age, luck, (attribute, setting))[0]
        else:
            people = list(natural)
            people[attribute] = np.full(n, setting)
        arms.append(people)
    for persona, rows in (("all", natural[0] >= 0), ("gender=level1", natural[0] == 1))[: 1 + attribute]:
        for v, k in enumerate(world.options):
            moved = (lam_by_law(world, arms[1], z, v) - lam_by_law(world, arms[0], z, v))[rows]
            per_lam = (world.high[v] - world.low[v]) @ (np.arange(k) / (k - 1))
            found = float(cube.effect.isel(country=0, value=v).sel(attribute=contrast, persona=persona))
            error = moved.std() / np.sqrt(len(moved))
            assert found == pytest.approx(moved.mean() * per_lam, abs=4.5 * error * per_lam + 1e-12)
    np.testing.assert_allclose(cube["shift"].sum("option"), 0, atol=1e-12)


def test_truth__total_effects_and_what_comes_after(world):
    """By construction: gender moves education moves residence. The last attribute's total effect is its direct one."""
    direct, total = truth(world), truth(world, estimand="total")
    change = abs(total.effect - direct.effect).sel(persona="all")
    assert float(change.sel(attribute="gender:level1").max()) > 0.002
    assert float(change.sel(attribute="education:level1").max()) > 0.002
    np.testing.assert_allclose(
        total.effect.sel(attribute="residence:level1"), direct.effect.sel(attribute="residence:level1"), atol=1e-12
    )
    after = {"gender": ("education", "residence"), "education": ("residence",), "residence": ()}
    for contrast in total.attribute.values.tolist():
        treatment = contrast.split(":")[0]
        for persona in total.persona.values.tolist():
            applies = treatment not in persona and not any(name in persona for name in after[treatment])
            status = total.status.sel(attribute=contrast, persona=persona)
            assert (status == (schema.OK if applies else schema.NOT_APPLICABLE)).all()
    book = world.codebook()
    assert [list(spec.parents) for spec in book.attributes.values()] == [
        ["age"],
        ["age", "gender"],
        ["age", "education"],
    ]


def test_truth__depth_cuts_the_lattice(world):
    cut, full = truth(world, depth=1), truth(world)
    assert cut.persona.size == 1 + 2 + 3 + 2
    np.testing.assert_allclose(
        cut.effect.sel(persona="all"), full.effect.sel(persona="all"), atol=1e-15, err_msg="depth changes no number"
    )


@pytest.mark.slow
def test_estimates__cover_the_truth():
    """All effects of one draw of 4,000 in 2 countries lie within 4.5 standard errors of the truth (over 100 a time)."""
    wide = World.make(countries=2, values=4, options=4, attributes=3, levels=[2, 3, 2], mediation=0.1, seed=5)
    survey = draw(wide, 4000, 6)
    for estimand in ("direct", "total", "association"):
        cube, true = estimate(survey, make_plan(survey, estimand=estimand)), truth(wide, estimand=estimand)
        not_there = [c.status == schema.NOT_APPLICABLE for c in (cube, true)]
        assert (not_there[0].values == not_there[1].values).all()
        z = ((cube.effect - true.effect) / cube.effect_se).where(true.status == schema.OK)
        assert int(np.isfinite(z).sum()) > 100
        assert float(abs(z).max()) < 4.5
        assert 0.7 < float(z.std()) < 1.3
    # and adjustment matters: the true associations are not the true direct effects
    gap = abs(true.effect - truth(wide).effect).sel(persona="all")
    assert float(gap.max()) > 1.5 * float(cube.effect_se.sel(persona="all").mean())


def test_estimates__under_the_whole_design():
    """Weights, PSUs, strata, nonresponse, no age: direct effects of one draw lie within 4 standard errors."""
    wide = World.make(values=4, attributes=2, covariate=False, seed=7)
    survey, true = simulate(wide, 3000, 8, weights=True, clusters=100, strata=4, nonresponse=0.1)
    assert not survey.codebook.covariates
    cube = estimate(survey, make_plan(survey))
    z = ((cube.effect - true.effect) / cube.effect_se).where(true.status == schema.OK)
    assert int(np.isfinite(z).sum()) == 2 * 3 * 4
    assert float(abs(z).max()) < 4


def test_weights__undo_the_selection():
    """Weighted mean and standardised effect of 500,000 lie within 4 errors of the truth, unweighted ones 10 off.

    Standardised: differences of means within education by age (where weights are equal), averaged over these cells.
    By the law of this world the unweighted ones are biased by 0.014 and 0.027 (in others biases may cancel).
    """
    wide = World.make(values=1, options=2, effect=0.12, heterogeneity=1, seed=21)
    n, true = 500_000, truth(wide).isel(country=0, value=0)
    survey = draw(wide, n, 8, weights=True)
    answer, gender = survey.values["value0"], survey.attributes["gender"]
    cell = survey.attributes["education"] * 100 + survey.covariates["age"].astype(int)
    size = np.sqrt((survey.weight**2).mean()) / survey.weight.mean() / np.sqrt(n)
    mean = float(true.response.sel(persona="all", option=2))
    effect = float(true.effect.sel(attribute="gender:level1", persona="all"))
    found = {}
    for name, weight in (("weighted", survey.weight), ("unweighted", np.ones(n))):
        change = np.array(
            [np.subtract(*(answer[(cell == c) & (gender == g)].mean() for g in (1, 0))) for c in set(cell)]
        )
        share = np.array([weight[cell == c].sum() for c in set(cell)]) / weight.sum()
        found[name] = (abs(np.average(answer, weights=weight) - mean), abs(change @ share - effect))
    error = 0.5 * size, 2 * 0.5 * size  # two arms of half the respondents each
    for i in range(2):
        assert found["weighted"][i] < 4 * error[i]
        assert found["unweighted"][i] > 10 * error[i]


def test_weights__undo_the_selection_in_psus():
    """The weighted share of a lone attribute, by which people are selected and PSUs differ, within 4 errors of 1/2.

    Filling each PSU to its size would pull it 8 errors away: PSUs with few of the selected kind would weigh too much.
    """
    wide = World.make(values=1, attributes=1, confounding=0, seed=1)
    n, clusters = 500_000, 150_000
    survey = draw(wide, n, 2, weights=True, clusters=clusters)
    kish = (survey.weight**2).mean() / survey.weight.mean() ** 2
    error = np.hypot(0.5 * np.sqrt(kish / n), CLUSTER_ATTRIBUTE / np.sqrt(clusters))
    assert np.average(survey.attributes["gender"], weights=survey.weight) == pytest.approx(0.5, abs=4 * error)


@pytest.mark.parametrize("rare", [None, 0.05])
def test_clusters__are_alike_within_and_leave_the_truth(rare):
    """3,000 PSUs of 30: design effects of mean answers are 2 to 3 with 2, 5 and 11 options (known to 3 %), that of the
    first attribute above 1.05; means, and differences between levels of the first attribute (with which a PSU's own
    answers have nothing to do), within 4 of their errors from the truth."""
    wide = World.make(values=3, options=[2, 5, 11], rare=rare, seed=9)
    survey, true = draw(wide, 90_000, 0, clusters=3000, strata=5), truth(wide, estimand="association")
    gender = survey.attributes["gender"]

    def mean_and_design(numbers):
        totals = np.bincount(survey.psu, numbers - numbers.mean(), minlength=3000)
        variance = (totals**2).sum() / len(numbers) ** 2
        return numbers.mean(), np.sqrt(variance), variance / (numbers.var() / len(numbers))

    for v, k in enumerate(wide.options):
        mean, error, design = mean_and_design(survey.values[f"value{v}"] / (k - 1))
        expected = true.response.values[0, v, 0, :k] @ schema.scores(k)
        assert 1.9 < design < 3
        assert mean == pytest.approx(expected, abs=4 * error)
        score = survey.values[f"value{v}"] / (k - 1)
        arms = [score[gender == level].mean() for level in (0, 1)]
        influence = (score - np.array(arms)[gender]) * np.where(
            gender == 1, 1 / gender.mean(), -1 / (1 - gender.mean())
        )
        error = mean_and_design(influence)[1]
        assert arms[1] - arms[0] == pytest.approx(float(true.effect.values[0, 0, v, 0]), abs=4 * error)
    mean, error, design = mean_and_design(gender.astype(float))
    assert mean == pytest.approx(rare or 0.5, abs=4 * error)
    assert design > 1.05
    assert len(np.unique(survey.psu)) == 3000
    assert len(np.unique(np.stack([survey.psu, survey.stratum]), axis=1).T) == 3000


def test_strata__differ_and_leave_the_truth():
    """Means of extreme strata differ by the effect of STRATUM (5 errors); uneven strata add nothing on the whole."""
    wide = World.make(values=1, options=2, countries=2, seed=4)
    survey = draw(wide, 200_000, 0, strata=4)
    high_low = wide.high[0][1] - wide.low[0][1]
    means = [survey.values["value0"][survey.stratum == h].mean() for h in range(4)]
    assert means[3] - means[0] == pytest.approx(2 * STRATUM * high_low, abs=5 * 0.5 * np.sqrt(2 / 100_000))
    for units, strata in ((3, 2), (10, 4), (7, 7), (5, 1)):
        assert _between_strata(units, strata).sum() == pytest.approx(0, abs=1e-15)
    assert draw(wide, 20, 0, clusters=6, strata=3).codebook.stratum.column == "stratum"


def test_null_nonresponse_and_seed():
    """Null values have exactly no effect of the first attribute; 40 % of 100,000 answers are missing (4 errors)."""
    wide = World.make(values=10, null=0.5, attributes=3, countries=2, seed=10)
    survey, true = simulate(wide, 5_000, 11, nonresponse=0.4)
    first = true.effect.sel(attribute="gender:level1").where(true.status.sel(attribute="gender:level1") == schema.OK)
    assert int(first.isel(value=slice(5, None)).notnull().sum()) == 2 * 5 * 9
    assert float(abs(first.isel(value=slice(5, None))).max()) == 0
    assert float(abs(first.sel(persona="all").isel(value=slice(0, 5))).min()) > 0
    missing = np.array([answers < 0 for answers in survey.values.values()])
    assert missing.mean() == pytest.approx(0.4, abs=4 * np.sqrt(0.24 / missing.size))
    assert np.abs(np.corrcoef(missing) - np.eye(10)).max() < 0.05  # apart for each value: 5 errors of a correlation
    again, other = draw(wide, 5_000, 11, nonresponse=0.4), draw(wide, 5_000, 12, nonresponse=0.4)
    for part in ("attributes", "values", "covariates"):
        for name, column in getattr(survey, part).items():
            np.testing.assert_array_equal(getattr(again, part)[name], column)
            assert (getattr(other, part)[name] != column).any()


def test_heterogeneity_none__effects_are_the_same_everywhere():
    """Without heterogeneity the effect of gender is one number in all countries and contexts; with it, it is not."""
    for heterogeneity, alike in ((0, True), (0.5, False)):
        true = truth(World.make(countries=3, values=2, attributes=2, heterogeneity=heterogeneity, seed=2))
        effect = true.effect.sel(attribute="gender:level1", persona=["all", "education=level0", "education=level1"])
        assert (float((effect.max(("country", "persona")) - effect.min(("country", "persona"))).max()) < 1e-12) is alike


@pytest.mark.parametrize("confounding", [0, 1])
def test_confounding__moves_associations(confounding):
    """Without confounding the associations of the third attribute are its direct effects; with it they are not."""
    wide = World.make(values=4, attributes=3, confounding=confounding, seed=2)
    gap = abs(truth(wide, estimand="association").effect - truth(wide).effect).sel(persona="all")
    if confounding:
        assert float(gap.sel(attribute="residence:level1").max()) > 0.005
    else:
        assert float(gap.max()) < 1e-12
        assert wide.codebook().attributes["residence"].parents == ()


def test_worlds__of_any_shape_have_shares_between_0_and_1():
    """Without clipping, at the limits of the parameters; levels have their population shares; shifts sum to 0."""
    assert BASE + AGE + EFFECTS + 4 / 3 * STRATUM + np.sqrt(3) * CLUSTER_ANSWER < 0.5  # 4/3: uneven strata
    for seed in range(20):
        rng = np.random.default_rng(seed)
        attributes = int(rng.integers(1, 6))
        rare = [None, 0.01, 0.5][seed % 3]
        wide = World.make(
            countries=2,
            values=3,
            options=rng.integers(2, 12, 3).tolist(),
            attributes=attributes,
            levels=rng.integers(2, 5, attributes).tolist(),
            effect=EFFECTS,
            heterogeneity=2,
            mediation=0.2 if attributes > 1 else 0,
            rare=rare,
            seed=seed,
        )
        kinds, share = wide.people
        assert share.sum() == pytest.approx(1)
        for a, wanted in enumerate(wide.share):
            np.testing.assert_allclose(np.bincount(kinds[:, a], share), wanted, atol=1e-12)
            off = 1 - wide.level_share(a, kinds)[:, 0]
            assert off.max() <= 0.95 + 1e-12
            assert off.min() >= (0.05 if a or rare is None else rare / 2) - 1e-12
        for c in range(2):
            high = wide.high_share(np.full(len(kinds), c), kinds)
            assert np.abs(high - 0.5).max() <= BASE + AGE + EFFECTS
        np.testing.assert_allclose(truth(wide, depth=1)["shift"].sum("option"), 0, atol=1e-12)


@pytest.mark.parametrize("options", range(2, 12))
def test_options__every_one_is_given(options):
    survey, true = simulate(World.make(values=1, options=options), 5000, 0)
    assert set(survey.values["value0"]) == set(range(options))
    assert int(true.n_options.item()) == options


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("options", 12),
        ("effect", 0.2),
        ("levels", [2]),
        ("attributes", 9),
        ("null", 1.5),
        ("rare", 0.6),
        ("mediation", 0.3),
        ("heterogeneity", -1),
        ("values", 0),
    ],
)
def test_bad_worlds(name, value):
    with pytest.raises(AceError, match=name):
        World.make(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"), [("respondents", 0), ("strata", 0), ("strata", 11), ("clusters", -1), ("nonresponse", 1)]
)
def test_bad_designs(name, value):
    with pytest.raises(AceError, match=name):
        draw(World.make(), **{"respondents": 10, "seed": 0, name: value})
    with pytest.raises(AceError, match="estimand"):
        truth(World.make(), estimand="directly")
