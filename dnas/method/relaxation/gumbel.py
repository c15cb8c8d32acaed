"""Random candidates whose distribution follows the softmax of the alphas."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dnas.core.mixture import Mixture
from dnas.core.schedule import Linear, Schedule
from dnas.method.relaxation.base import Relaxation
from dnas.system.accepted import accept
from dnas.system.errors import UserError


@dataclass(frozen=True)
class GumbelSoftmax(Relaxation):
    """p = softmax((log_softmax(alpha) + G) / T) with Gumbel noise G = -log(-log U), U uniform in (0, 1).

    Soft, m = p: SNAS (Xie et al. 2019, https://arxiv.org/abs/1812.09926). Hard, m = onehot(argmax p) - p.detach() + p:
    GDAS (Dong and Yang 2019, https://arxiv.org/abs/1910.04465), where only the drawn candidate is computed. The drawn
    index is read on the host: the one synchronisation of a step.

    With g the gradient of the loss by the output y of an edge, and o_k its candidates, the gradient by m_k is

        <g, o_k>        for the drawn k, in all forms
        0               for the others, by default: what is not computed has no gradient
        sum over y of g for the others with `add_undrawn`: each adds its weight, a number of value 0, to y
        <g, o_k>        for the others with `compute_all`: the true straight-through gradient

    The official code has the form of `add_undrawn` (D-X-Y/AutoDL-Projects,
    https://github.com/D-X-Y/AutoDL-Projects/blob/main/xautodl/models/cell_searchs/search_cells.py, `forward_gdas`), and
    so its published results. It is an accident of the code more than an estimate: on NAS-Bench-201 its cosine with
    the true straight-through gradient was 0.03 on average, that of the default 0.31.

    Args:
        temperature: T over the progress of the search, above 0. It is linear in the official codes: from 10 to 0.1 in
            GDAS, from 1 to 0.03 in SNAS (150 epochs). They change it once per epoch, and GDAS ends at the last value;
            here it follows the steps.
        hard: whether one candidate is drawn per row.
        compute_all: with `hard`, compute every candidate anyway: slow, but with the true straight-through gradient in
            all entries.
        add_undrawn: with `hard`, the gradient of the official code of GDAS in the entries that are not drawn.

    Raises:
        UserError: the temperature is 0 or below at the start or at the end, or `add_undrawn` has no effect.
    """

    temperature: Schedule = Linear(10.0, 0.1)
    hard: bool = True
    compute_all: bool = False
    add_undrawn: bool = False

    def __post_init__(self) -> None:
        accept(self)
        ends = [float(self.temperature(torch.tensor(progress))) for progress in (0.0, 1.0)]
        if not min(ends) > 0:
            raise UserError(
                f"GumbelSoftmax divides by its temperature, which must be above 0; got {ends[0]:g} at the start and "
                f"{ends[1]:g} at the end. A low one such as 0.1 is close to a hard choice."
            )
        if self.add_undrawn and (self.compute_all or not self.hard):
            raise UserError(
                "add_undrawn has no effect where all candidates are computed: it needs hard, without compute_all."
            )

    def sample(self, alpha: Tensor, progress: Tensor, generator: torch.Generator | None) -> Mixture:
        logits = alpha.log_softmax(dim=-1)
        p = ((logits + gumbel_like(logits, generator)) / self.temperature(progress)).softmax(dim=-1)
        if not self.hard:
            return Mixture(p)
        index = p.detach().argmax(dim=-1, keepdim=True)
        one_hot = torch.zeros_like(p).scatter(-1, index, 1.0)
        active = None if self.compute_all else tuple((k,) for k in index.flatten().tolist())
        return Mixture(one_hot - p.detach() + p, active, adds_inactive=self.add_undrawn)

    def expected(self, alpha: Tensor, progress: Tensor) -> Mixture:
        """softmax(alpha): the probability with which each candidate is drawn, at any temperature."""
        return Mixture(alpha.softmax(dim=-1))


def gumbel_like(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard Gumbel noise of the shape, dtype and device of `like`, drawn on the generator's device."""
    device = like.device if generator is None else generator.device
    uniform = torch.rand(like.shape, generator=generator, device=device, dtype=like.dtype).to(like.device)
    tiny = torch.finfo(like.dtype).tiny
    return -torch.log(-torch.log(uniform.clamp(tiny, 1 - torch.finfo(like.dtype).eps)))
