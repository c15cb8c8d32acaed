"""Perplexity of language models."""

import doctest
import math

import pytest
from torch import nn

import dnas.language.evaluation
from dnas.language.evaluation import perplexity, whole_text
from tests.support.small_language import V, corpus, network


def test_examples_in_docstrings_hold():
    assert doctest.testmod(dnas.language.evaluation).failed == 0


@pytest.mark.parametrize("rows", [1, 3])
def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary(rows: int):
    model = network().double()
    model.encoder.weight.data.zero_()  # pyright: ignore
    assert perplexity(model, whole_text(corpus().test, batch_size=rows)) == pytest.approx(V, rel=1e-12)


def test_perplexity_is_that_of_the_whole_text_whatever_the_batches():
    model, text = network().double().eval(), corpus().test
    logits = model(text[:-1, None]).logits[:, 0]
    expected = nn.functional.cross_entropy(logits, text[1:]).exp().item()
    for bptt in (1, 7, 35, 500):
        assert perplexity(model, whole_text(text, bptt=bptt)) == pytest.approx(expected, rel=1e-12)


def test_a_network_that_diverged_is_no_number_and_says_so():
    model = network()
    model.bias.data.fill_(math.nan)  # pyright: ignore
    with pytest.raises(FloatingPointError, match="training has diverged"):
        perplexity(model, whole_text(corpus().test))
