"""The recurrent space: its formulas by hand, equality of its forms, published sizes."""

import doctest
import math
import pickle
import re

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import dnas.space.recurrent
from dnas.core.architecture import Architecture, CellArchitecture, KeptEdge
from dnas.core.derive import derive
from dnas.core.mixture import Mixture
from dnas.method.discretization import Argmax
from dnas.method.relaxation import GumbelSoftmax, Softmax
from dnas.searching.supernet import Supernet
from dnas.space.recurrent import CANDIDATES, RecurrentDropout, RecurrentSpace
from dnas.space.recurrent_model import (
    NO_DROPOUT,
    LanguageOutput,
    PlainRecurrentNodes,
    RecurrentLanguageModel,
    RecurrentNodes,
)

SPACE = RecurrentSpace()
TWO = RecurrentSpace(nodes=2)
V, H, B, T = 11, 6, 5, 4


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tokens(seed: int = 1) -> Tensor:
    return torch.randint(0, V, (T, B), generator=generator(seed))


def large(model: nn.Module) -> nn.Module:
    """The model in float64 with weights of order 1, which makes every term of a formula count."""
    model.double()
    for seed, weight in enumerate(model.parameters()):
        weight.data.normal_(generator=generator(seed))
    return model


def supernet(space: RecurrentSpace = SPACE) -> Supernet:
    model = large(space.model(vocabulary=V, hidden=H, dropout=NO_DROPOUT))
    return Supernet(model, lambda output, targets: output.logits.mean())


def norm(s: Tensor) -> Tensor:
    return (s - s.mean(0)) / (s.var(0, correction=0) + 1e-5).sqrt()


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + (-x).exp())


ACTIVATIONS = {"tanh": torch.tanh, "relu": lambda x: x.clamp(min=0), "sigmoid": sigmoid, "identity": lambda x: x}


def test_examples_in_docstrings_hold():
    assert doctest.testmod(dnas.space.recurrent).failed == 0


def test_two_searched_nodes_are_the_formula_of_the_paper():
    nodes = large(RecurrentNodes(H, TWO.decisions()["recurrent"]))
    s0, mask, p = (torch.rand(shape, dtype=torch.float64, generator=generator(7)) for shape in ((B, H), (B, H), (3, 5)))
    nodes.bind({"recurrent": Mixture(p)})  # pyright: ignore
    w1, w2 = nodes.parameters()

    def edge(s: Tensor, w: Tensor, row: int) -> Tensor:
        ch = (s * mask) @ w
        c, h = sigmoid(ch[:, :H]), ch[:, H:]
        total = torch.zeros_like(s)
        for k, name in enumerate(CANDIDATES):
            if name != "none":
                total = total + p[row, k] * (s + c * (ACTIVATIONS[name](h) - s))
        return total

    s0_normed = norm(s0)
    s1 = norm(edge(s0_normed, w1, 0))
    s2 = norm(edge(s0_normed, w2, 1) + edge(s1, w2, 2))
    assert_close(nodes(s0, mask), (s1 + s2) / 2, rtol=0, atol=1e-12)


def test_a_network_of_two_nodes_is_the_formula_of_the_paper():
    edges = (KeptEdge(0, 1, "relu"), KeptEdge(1, 2, "sigmoid"))
    found = TWO.architecture({"recurrent": CellArchitecture(edges, (1, 2))})
    network = large(TWO.network(found, vocabulary=V, hidden=H, dropout=NO_DROPOUT))
    assert isinstance(network, RecurrentLanguageModel) and isinstance(network.nodes, PlainRecurrentNodes)
    w0, (w1, w2), table, bias = network.gate, network.nodes.weights, network.encoder.weight, network.bias
    h = torch.randn(B, H, dtype=torch.float64, generator=generator(3))
    output, carry = network(tokens(), h)
    for t in range(T):
        x = table[tokens()[t]]
        ch = torch.cat([x, h], dim=1) @ w0
        s0 = h + sigmoid(ch[:, :H]) * (torch.tanh(ch[:, H:]) - h)
        ch = s0 @ w1
        s1 = s0 + sigmoid(ch[:, :H]) * (ch[:, H:].clamp(min=0) - s0)
        ch = s1 @ w2
        s2 = s1 + sigmoid(ch[:, :H]) * (sigmoid(ch[:, H:]) - s1)
        h = (s1 + s2) / 2
        assert_close(output.states[t], h, rtol=0, atol=1e-12)
        assert_close(output.logits[t], h @ table.T + bias, rtol=0, atol=1e-11)  # sums of larger numbers
    assert_close(carry, h, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_a_one_hot_supernet_equals_the_derived_network(seed: int):
    net, found = supernet(), SPACE.random(generator(seed))
    derived = derive(net.model, found)
    start = torch.randn(B, H, dtype=torch.float64, generator=generator(3))
    with net.bound(net.one_hot(found)) as model:
        (mine, my_carry), (theirs, their_carry) = derived(tokens(), start), model(tokens(), start)
    assert_close((mine.logits, my_carry), (theirs.logits, their_carry), rtol=0, atol=1e-12)
    assert not any(isinstance(module, RecurrentNodes) for module in derived.modules())


def test_hard_samples_compute_what_the_same_values_give_without_leaving_out():
    net = supernet()
    sampled = net.sample(GumbelSoftmax(hard=True), torch.tensor(0.5), generator())
    dense = {name: Mixture(mixture.values) for name, mixture in sampled.items()}
    with net.bound(sampled) as model:
        some = model(tokens()).logits
    with net.bound(dense) as model:
        assert_close(some, model(tokens()).logits, rtol=0, atol=1e-12)


def test_a_node_of_nothing_is_zero():
    net = supernet(TWO)
    values = torch.zeros(3, 5, dtype=torch.float64)
    values[:, 0] = 1
    with net.bound({"recurrent": Mixture(values, ((0,), (0,), (0,)))}) as model:
        assert not model(tokens()).states.any()


def test_what_none_weighs_gets_no_gradient_and_the_rest_does():
    net = supernet(TWO)
    mixtures = net.sample(Softmax(), torch.tensor(0.0))
    values = mixtures["recurrent"].values.detach().requires_grad_()
    with net.bound({"recurrent": Mixture(values)}) as model:
        (gradient,) = torch.autograd.grad(model(tokens()).logits.square().sum(), values)
    assert not gradient[:, 0].any()
    assert gradient[:, 1:].all()


def test_discretization_keeps_the_strongest_input_and_never_none():
    p = torch.full((3, 5), 0.1)
    p[0, 0], p[1, 0] = 0.9, 0.9  # none is strongest, and does not count
    p[0, 3], p[1, 2], p[2, 4] = 0.2, 0.3, 0.4
    decisions = TWO.decisions()
    kept = Argmax()(decisions, {"recurrent": Mixture(p)}, evaluate=lambda _: 0.0, train=lambda *_: None)  # pyright: ignore
    assert kept["recurrent"] == CellArchitecture((KeptEdge(0, 1, "sigmoid"), KeptEdge(1, 2, "identity")), (1, 2))


def test_a_window_gives_what_its_halves_give_when_the_state_is_carried_on():
    network = large(SPACE.network(SPACE.random(generator()), vocabulary=V, hidden=H, dropout=NO_DROPOUT))
    whole = network(tokens()).logits
    first, carry = network(tokens()[:2], torch.zeros(B, H, dtype=torch.float64))
    second, _ = network(tokens()[2:], carry)
    assert_close(torch.cat([first.logits, second.logits]), whole, rtol=0, atol=1e-12)


def test_the_network_of_the_paper_has_its_number_of_parameters():
    # 23 million on Penn Treebank (10,000 words, 850 units): README of https://github.com/quark0/darts.
    v, h = 10_000, 850
    formula = v * h + v + 2 * h * 2 * h + 8 * h * 2 * h
    assert formula == 22_960_000
    found = SPACE.random(generator())
    with torch.device("meta"):
        network = SPACE.network(found, vocabulary=v)
        searched = SPACE.model(vocabulary=v)
    assert sum(weight.numel() for weight in network.parameters()) == formula
    # Official supernet: no parameters in batch norm or candidates.
    assert sum(weight.numel() for weight in searched.parameters()) == 10_000 * 301 + 600 * 600 + 8 * 300 * 600


def test_dropout_masks_are_the_same_at_all_steps_and_words_drop_as_a_whole():
    dropout = RecurrentDropout(output=0.5, hidden=0.0, inputs=0.0, embedded=0.0, words=0.0)
    network = large(SPACE.network(SPACE.random(generator()), vocabulary=V, hidden=H, dropout=dropout))
    output = network(tokens())
    ratio = output.dropped / output.states
    assert set(ratio.round(decimals=9).unique().tolist()) == {0.0, 2.0}
    assert_close(ratio, ratio[:1].expand_as(ratio))

    network.dropout = RecurrentDropout(0.0, 0.0, 0.0, 0.0, words=0.5)
    embedded = network._embedded(torch.arange(V)[:, None])[:, 0] / network.encoder.weight  # pyright: ignore
    assert set(embedded.round(decimals=9).unique().tolist()) == {0.0, 2.0}
    assert (embedded == embedded[:, :1]).all()


@pytest.mark.parametrize("name", ["output", "hidden", "inputs", "embedded", "words"])
def test_every_dropout_acts_in_training_alone(name: str):
    dropout = RecurrentDropout(**{**vars(NO_DROPOUT), name: 0.5})
    network = large(SPACE.network(SPACE.random(generator()), vocabulary=V, hidden=H, dropout=dropout))
    torch.manual_seed(0)
    first, second = network(tokens()).logits, network(tokens()).logits
    assert not torch.equal(first, second)
    network.eval()
    assert torch.equal(network(tokens()).logits, network(tokens()).logits)
    assert network(tokens()).states is None


def test_gradients_reach_all_weights_and_are_right():
    found = TWO.architecture(
        {"recurrent": CellArchitecture((KeptEdge(0, 1, "tanh"), KeptEdge(0, 2, "sigmoid")), (1, 2))}
    )
    network = large(TWO.network(found, vocabulary=3, hidden=2, dropout=NO_DROPOUT))
    names = [name for name, _ in network.named_parameters()]

    def loss(*weights: Tensor) -> Tensor:
        return torch.func.functional_call(
            network, dict(zip(names, weights, strict=True)), (torch.tensor([[0, 1], [2, 0]]),)
        ).logits.square().mean()  # fmt: skip

    assert torch.autograd.gradcheck(loss, tuple(network.parameters()))


def test_random_architectures_are_counted_by_size():
    space = RecurrentSpace(nodes=2, candidates=("none", "tanh", "relu"))
    draw = generator()
    found = {space.random(draw).to_json() for _ in range(300)}
    assert len(found) == space.size() == 2 * 2**2
    assert SPACE.size() == math.factorial(8) * 4**8


def test_an_architecture_survives_json_and_names_its_space():
    found = SPACE.random(generator())
    again = Architecture.from_json(found.to_json())
    SPACE.check(again)
    assert (again.space, again.decisions) == ("darts_rnn", found.decisions)
    assert RecurrentSpace(again.arguments["nodes"], tuple(again.arguments["candidates"])) == SPACE


def test_space_and_output_pickle():
    assert pickle.loads(pickle.dumps(SPACE)) == SPACE
    assert pickle.loads(pickle.dumps(LanguageOutput(torch.zeros(1)))).states is None


@pytest.mark.parametrize(
    ("edges", "output", "message"),
    [
        (((0, 1, "swish"),), (1,), "Unknown activation 'swish'"),
        (((1, 1, "relu"),), (1,), "edges go upward"),
        (((0, 2, "relu"),), (2,), "edges into each of the states from 1 on"),
        (((0, 1, "relu"),), (2,), "states from 0 to 1"),
        (((0, 1, "none"),), (1,), "Unknown activation 'none'"),
    ],
)
def test_a_cell_that_cannot_be_built_is_refused(edges, output, message):
    cell = CellArchitecture(tuple(KeptEdge(*edge) for edge in edges), output)
    with pytest.raises(ValueError, match=message):
        SPACE.network(SPACE.architecture({"recurrent": cell}), vocabulary=V)


def test_bad_input_is_answered():
    with pytest.raises(ValueError, match="belongs to space 'module'"):
        SPACE.check(Architecture({}))
    with pytest.raises(ValueError, match="one cell 'recurrent'"):
        SPACE.check(SPACE.architecture({"normal": "x"}))
    with pytest.raises(ValueError, match="must be a cell with edges and output; got 'relu'"):
        SPACE.network(SPACE.architecture({"recurrent": "relu"}), vocabulary=V)
    with pytest.raises(ValueError, match="Unknown candidates"):
        RecurrentSpace(candidates=("none", "gelu"))
    with pytest.raises(ValueError, match="one besides 'none'"):
        RecurrentSpace(candidates=("none",))
    with pytest.raises(ValueError, match="nodes must be 1"):
        RecurrentSpace(nodes=0)
    with pytest.raises(ValueError, match="hidden must be 1"):
        SPACE.model(vocabulary=3, hidden=0)
    with pytest.raises(ValueError, match="dropout words"):
        RecurrentDropout(words=1.0)
    with pytest.raises(ValueError, match="2 rows or more"):
        SPACE.model(vocabulary=V, hidden=H)(tokens()[:, :1])


def test_modules_print_what_they_decide():
    model = TWO.model(vocabulary=V, hidden=H, dropout=NO_DROPOUT)
    assert f"'recurrent', nodes=2, candidates={list(TWO.candidates)}" in repr(model)
    assert f"hidden={H}, RecurrentDropout(" in repr(model)
    network = TWO.network(TWO.random(generator()), vocabulary=V, hidden=H)
    assert re.search(r"0->1 \w+, \d->2 \w+; mean of \[1, 2\], normalised=False", repr(network))
