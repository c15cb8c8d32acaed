"""What holds for architectures, texts, mixtures, settings and splits of any size: 25 examples each, 2,000 in a soak."""

import contextlib
import os

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dnas
from dnas.core.architecture import Architecture
from dnas.data.split import stratified_split
from dnas.formats import read_genotype, read_mmrazor, read_nasbench201, write_genotype, write_mmrazor, write_nasbench201
from dnas.method.hypergradient.clip import clip
from dnas.space import DartsSpace, NasBench201Space
from dnas.system.digest import sealed_json, without_seal
from dnas.system.errors import UserError
from dnas.system.reading import parse_json, parse_yaml
from dnas.task.interval import wilson_interval

MANY = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
here = settings(
    max_examples=2000 if MANY else 25,
    derandomize=not MANY,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
SEEDS = st.integers(0, 2**31)


def drawn(space: dnas.Space, seed: int) -> Architecture:
    return space.random(torch.Generator().manual_seed(seed))


@here
@given(SEEDS, st.integers(1, 6), st.booleans())
def test_any_architecture_of_darts_comes_back_from_json_and_from_its_genotype(seed, nodes, mmrazor):
    architecture = drawn(DartsSpace(nodes=nodes), seed)
    assert Architecture.from_json(architecture.to_json()) == architecture
    write, read = (write_mmrazor, read_mmrazor) if mmrazor else (write_genotype, read_genotype)
    assert read(write(architecture)).decisions == architecture.decisions


@here
@given(SEEDS)
def test_any_architecture_of_nasbench201_comes_back_from_its_text(seed):
    architecture = drawn(NasBench201Space(), seed)
    assert read_nasbench201(write_nasbench201(architecture)).decisions == architecture.decisions


CHARACTERS = st.sampled_from("ab01.-+eE:{}[](),&*!|>#%@`'\"\\/\n\t \x00\x7f\x1bé猫🐈\u2028\ufeff")
TEXT = st.text(CHARACTERS, max_size=20)
LEAVES = st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(-1e9, 1e9) | TEXT
PLAIN = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=20
)


@here
@given(st.dictionaries(TEXT.filter(lambda name: name != "sha256"), PLAIN, max_size=5))
def test_any_plain_data_comes_back_from_json_with_its_digest_whose_digits_may_not_change(data):
    text = sealed_json(data)
    assert without_seal(parse_json(text), text, source="x") == data
    other = text[:-5] + ("0" if text[-5] != "0" else "1") + text[-4:]
    with pytest.raises(UserError, match=r"is damaged"):
        without_seal(parse_json(other), other, source="x")


@here
@given(st.text(CHARACTERS, max_size=100))
def test_any_text_is_read_as_yaml_or_refused(text):
    with contextlib.suppress(UserError):
        parse_yaml(text)


ROWS = st.lists(st.lists(st.floats(-20, 20), min_size=3, max_size=3), min_size=1, max_size=5)
ALPHAS = ROWS.map(lambda rows: torch.tensor(rows, dtype=torch.float64))


@here
@given(ALPHAS, st.floats(-5, 5), st.floats(0, 1))
def test_any_mixture_of_softmax_sums_to_one_and_stays_when_all_alphas_are_shifted(alpha, shift, progress):
    at = torch.tensor(progress)
    mixture = dnas.Softmax().expected(alpha, at).values
    torch.testing.assert_close(mixture.sum(-1), torch.ones(len(alpha), dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(dnas.Softmax().expected(alpha + shift, at).values, mixture, rtol=1e-9, atol=1e-12)
    gates = dnas.Sigmoid().expected(alpha, at).values
    torch.testing.assert_close(gates + dnas.Sigmoid().expected(-alpha, at).values, torch.ones_like(gates))


@here
@given(ALPHAS, SEEDS)
def test_any_hard_sample_of_gumbel_is_one_candidate_in_each_row(alpha, seed):
    sample = dnas.GumbelSoftmax().sample(alpha, torch.tensor(0.5), torch.Generator().manual_seed(seed)).values.detach()
    torch.testing.assert_close(sample.sum(-1), torch.ones(len(alpha), dtype=torch.float64), rtol=0, atol=1e-9)
    torch.testing.assert_close(sample.max(-1).values, torch.ones(len(alpha), dtype=torch.float64), rtol=0, atol=1e-9)


@here
@given(st.lists(st.integers(2, 30), min_size=1, max_size=6), st.floats(0.05, 0.95), SEEDS)
def test_any_stratified_split_holds_each_image_once_and_each_class_in_proportion(counts, share, seed):
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    parts = stratified_split(labels, [share, 1 - share], seed=seed)
    assert torch.cat(parts).sort().values.tolist() == list(range(len(labels)))
    for label, count in enumerate(counts):
        there = int((labels[parts[0]] == label).sum())
        assert 1 <= there <= count - 1
        assert abs(there - count * share) < 1 + 1e-9 or there in (1, count - 1)


@here
@given(st.floats(1e-6, 1.0), st.floats(0.0, 1.0), st.floats(0, 1))
def test_any_cosine_stays_between_its_ends(start, end, progress):
    value = float(dnas.Cosine(start, end)(torch.tensor(progress, dtype=torch.float64)))
    assert min(start, end) - 1e-12 <= value <= max(start, end) + 1e-12


@here
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=6), st.floats(1e-3, 1e3))
def test_any_clipped_gradient_has_the_direction_that_it_had_and_at_most_the_norm(values, most):
    gradient = torch.tensor(values, dtype=torch.float64)
    clipped = clip({"w": gradient}, most)["w"]
    assert float(clipped.norm()) <= most * (1 + 1e-6)
    torch.testing.assert_close(clipped * gradient.norm(), gradient * clipped.norm(), rtol=1e-6, atol=1e-9)


@here
@given(st.integers(1, 10_000), st.floats(0, 1))
def test_any_share_of_samples_lies_in_its_interval(count, share):
    right = round(count * share) / count
    low, high = wilson_interval(right, count)
    assert 0 <= low <= right + 1e-12
    assert right - 1e-12 <= high <= 1
