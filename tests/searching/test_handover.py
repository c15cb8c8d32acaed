"""What goes from stage to stage: the strongest candidates, weights by name, the states of optimizers."""

import pytest
import torch
from torch import Tensor, nn

from dnas import Argmax, Choice, Decision, Mixture, Softmax, Supernet
from dnas.searching.handover import Widening, load_optimizer, load_pruned, load_widened, pruned

CELL = Decision("cell", "operations", ("a", "b", "c"), ((0, 1), (0, 2)), output=(2,))


def test_the_strongest_of_each_row_stay_and_the_first_of_equals():
    values = torch.tensor([[0.2, 0.2, 0.2], [0.1, 0.5, 0.4]])
    assert pruned({"cell": CELL}, {"cell": Mixture(values)}, 2) == {"cell": ((0, 1), (1, 2))}


def test_what_was_ruled_out_does_not_come_back():
    values, active = torch.tensor([[0.9, 0.06, 0.04], [0.1, 0.5, 0.4]]), ((1, 2), (0, 2))
    assert pruned({"cell": CELL}, {"cell": Mixture(values, active)}, 1) == {"cell": ((1,), (2,))}


def test_rows_with_fewer_candidates_and_weights_of_edges_are_left_as_they_are():
    edges = Decision("cell.edges", "edges", ("0->1", "0->2"), ((0, 1), (0, 2)))
    mixtures = {"cell": Mixture(torch.rand(2, 3), ((1,), (0, 2))), "cell.edges": Mixture(torch.rand(2))}
    assert pruned({"cell": CELL, "cell.edges": edges}, mixtures, 2) == {"cell": ((1,), (0, 2))}


def net(num: int = 3) -> nn.Module:
    return nn.Sequential(Choice("act", {f"act{k}": nn.Linear(2, 2) for k in range(num)}))


def prune(supernet: Supernet, alpha: Tensor, *, carry: bool, allowed: tuple[int, ...] | None = None) -> Supernet:
    load_pruned(
        supernet,
        {"act": alpha},
        {} if allowed is None else {"act": (allowed,)},
        num_candidates=2 if allowed is None else None,
        relaxation=Softmax(),
        progress=torch.tensor(1.0),
        carry=carry,
    )
    return supernet


def test_alphas_that_are_carried_are_0_where_ruled_out_and_others_are_new():
    alpha = torch.tensor([0.3, -0.2, 0.1])
    carried, fresh = (prune(Supernet(net(), seed=5), alpha, carry=carry) for carry in (True, False))
    assert carried.allowed == fresh.allowed == {"act": ((0, 2),)}
    torch.testing.assert_close(carried.alphas["act"].detach(), torch.tensor([0.3, 0.0, 0.1]), rtol=0, atol=0)
    torch.testing.assert_close(fresh.alphas["act"], Supernet(net(), seed=5).alphas["act"], rtol=0, atol=0)


def test_what_is_ruled_out_stays_so_where_nothing_is_pruned():
    assert prune(Supernet(net()), torch.zeros(3), carry=False, allowed=(1,)).allowed == {"act": ((1,),)}


def test_other_candidates_are_refused():
    with pytest.raises(ValueError, match=r"alphas of 'act' have the shape \(3,\) in one and \(4,\) in the next"):
        prune(Supernet(net(4)), torch.zeros(3), carry=True)


def test_argmax_keeps_only_what_is_allowed():
    supernet = prune(Supernet(net()), torch.tensor([0.0, 0.1, 0.2]), carry=False)
    with torch.no_grad():
        supernet.alphas["act"].copy_(torch.tensor([9.0, 1.0, 2.0]))
    mixtures = supernet.expected(Softmax(), torch.tensor(1.0))
    kept = Argmax()(supernet.decisions, mixtures, evaluate=lambda active: 0.0, train=lambda epochs, active=None: None)
    assert kept == {"act": "act2"}


# Widening


def test_additional_channels_are_copies_and_share_their_index_between_outputs_and_inputs():
    widening = Widening(seed=3)
    index = widening.index(3, 5).tolist()
    assert len(index) == 2
    assert set(index) <= {0, 1, 2}
    old = torch.arange(9.0).reshape(3, 3, 1, 1)
    wider = widening(old, (5, 5, 1, 1))
    assert wider is not None
    rows = [0, 1, 2, *index]
    torch.testing.assert_close(wider, old[rows][:, rows], rtol=0, atol=0)
    vector = widening(old[:, 0, 0, 0], (5,))
    assert vector is not None
    torch.testing.assert_close(vector, wider[:, 0, 0, 0], rtol=0, atol=0)


def test_a_wider_pair_of_layers_computes_copies_of_the_same_channels():
    """y = W2 relu(W1 x) with the inputs of W2 counted once: halves where a channel has a copy of itself."""
    first, second = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 2, dtype=torch.float64)
    widening, x = Widening(seed=0), torch.randn(3, dtype=torch.float64)
    wide_first, wide_second = widening(first, (4, 3)), widening(second, (2, 4))
    assert wide_first is not None
    assert wide_second is not None
    copies = torch.bincount(torch.tensor([0, 1, *widening.index(2, 4).tolist()]))
    expected = second @ (copies * (first @ x).relu())
    torch.testing.assert_close(wide_second @ (wide_first @ x).relu(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (3, 3, 3, 3), (3, 3), (3, 2, 1, 1)])
def test_smaller_or_other_shapes_lead_nowhere(shape: tuple[int, ...]):
    assert Widening(0)(torch.zeros(3, 3, 1, 1), shape) is None


def test_weights_without_a_counterpart_stay_as_they_are_new():
    small, large = nn.Module(), nn.Module()
    small.same, large.same = nn.Linear(2, 2), nn.Linear(2, 2)
    small.grows, large.grows = nn.Linear(2, 2), nn.Linear(2, 3)
    small.shrinks, large.shrinks = nn.Linear(2, 2), nn.Linear(2, 1)
    small.gone, large.fresh = nn.Linear(2, 2), nn.Linear(2, 2)
    small.norm, large.norm = nn.BatchNorm2d(2), nn.BatchNorm2d(3)
    small.norm.running_mean = torch.full((2,), 7.0)
    for model in (small, large):
        model.act = net()
    before = {name: tensor.clone() for name, tensor in large.state_dict().items()}
    widening = Widening(0)
    load_widened(Supernet(large), small.state_dict(), widening)
    after, old, rows = large.state_dict(), small.state_dict(), [0, 1, *widening.index(2, 3).tolist()]
    assert torch.equal(after["same.weight"], old["same.weight"])
    assert torch.equal(after["grows.weight"], old["grows.weight"][rows])
    assert torch.equal(after["norm.running_mean"], torch.full((3,), 7.0))
    for name in ("shrinks.weight", "shrinks.bias", "fresh.weight"):
        assert torch.equal(after[name], before[name]), name


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_states_of_optimizers_go_by_name_and_widen_like_their_weights(kind: str):
    def optimizer(tensors: dict[str, Tensor]) -> torch.optim.Optimizer:
        weights = list(tensors.values())
        return torch.optim.SGD(weights, 0.1, momentum=0.9) if kind == "sgd" else torch.optim.Adam(weights)

    old = {name: torch.randn(2, 2).requires_grad_() for name in ("gone", "shrinks", "grows", "same")}
    before = optimizer(old)
    for weight in old.values():
        weight.grad = torch.randn(2, 2)
    before.step()
    new = {"fresh": torch.zeros(2, 2), "same": torch.zeros(2, 2), "grows": torch.zeros(3, 2), "shrinks": torch.zeros(1)}
    new = {name: tensor.requires_grad_() for name, tensor in new.items()}
    after, widening = optimizer(new), Widening(0)
    load_optimizer(after, new, before.state_dict(), list(old), widening)
    key, rows = "momentum_buffer" if kind == "sgd" else "exp_avg_sq", [0, 1, *widening.index(2, 3).tolist()]
    assert torch.equal(after.state[new["same"]][key], before.state[old["same"]][key])
    assert torch.equal(after.state[new["grows"]][key], before.state[old["grows"]][key][rows])
    assert new["fresh"] not in after.state
    assert new["shrinks"] not in after.state
    if kind == "adam":
        assert after.state[new["grows"]]["step"] == 1
    for weight in new.values():  # nothing of the wrong shape is left
        weight.grad = torch.ones_like(weight)
    after.step()
