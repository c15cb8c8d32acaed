"""What the first proposals of a shrinking's finalists reach when each is fine-tuned in full, beside its held-out loss.

    python benchmarks/shrink_shapes.py OUT.jsonl --data cifar16.npz --folder RUNS [--seeds 0 1 2] [--limits 10]

The network, the data and the fine-tuning are those of `shrink.py`, whose trained originals in RUNS are taken as they
are. Fine-tuned are: the decision, what is decided for looser budgets scaled down, and all of these and uniform widths
with a block as narrow as it can be. A row is a line of JSON; rows that are there are not made again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from rows import complete
from shrink import SAMPLE, Sizes, data_of, options_of, trained

from dnas import ShrinkSettings, Silent, evaluate, retrain
from dnas.cost.budget import Budget
from dnas.shrinking.budget import limits_of
from dnas.shrinking.deciding import worth_of
from dnas.shrinking.memory import Memory
from dnas.shrinking.proposals import WidthProposals, values_of
from dnas.shrinking.searchable import make_searchable
from dnas.shrinking.statistics import reestimate
from dnas.task import Classification

_MANY = 40  # proposals, of which the first are of the kinds that are asked for


def made(limit: int, seed: int, sizes: Sizes, path: Path, folder: Path) -> list[dict[str, Any]]:
    data = data_of(path, seed, sizes.images)
    model = trained(data, sizes, folder, seed)
    searchable = make_searchable(model, SAMPLE)
    program = searchable.program()
    limits = limits_of(Budget((f"flops<={limit}%",)), searchable, program)
    worth = worth_of(
        searchable,
        limits,
        train=data.train,
        held_out=data.held_out,
        task=Classification(),
        settings=ShrinkSettings(),
        search_epochs=0,
        memory=Memory(None, {}),
        run=None,
        display=Silent(),
    )
    decided = [limits.looser(factor).best(worth.scores) for factor in (1.0, 2.0, 4.0)]
    proposals = WidthProposals(searchable, program, limits.bounds, decided, lambda values: True, 0)
    rows = []
    for proposal in proposals.first(_MANY, 0.0):
        source, values = proposal.source, values_of(proposal.architecture)
        if source.startswith("a change") or not source.endswith(("decision", "budget (1)", "budget (2)", "can be")):
            continue
        network = searchable.derive(searchable.selection(values, worth.ranking))
        reestimate(network, [batch for _, batch in zip(range(8), data.train.epoch(0), strict=False)])
        network = retrain(network, data.train, settings=sizes.tuned, display=Silent(), teacher=model)
        held, test = (evaluate(network, part, display=Silent()).measurement for part in (data.held_out, data.test))
        row = {"limit": limit, "seed": seed, "source": source, "values": values, "held_out_loss": held.loss}
        rows.append({**row, "held_out_top1": held.score.value, "top1": test.score.value})
    return rows


def main() -> None:
    options = options_of(limits=[10]).parse_args()
    torch.set_num_threads(1)
    sizes = Sizes(options.training, options.fine_tuning, options.images, 0)
    wanted = [(limit, seed) for seed in options.seeds for limit in options.limits]
    rows = complete(
        options.out,
        ("limit", "seed"),
        wanted,
        lambda limit, seed: made(limit, seed, sizes, options.data, options.folder),
        minutes=2.0,  # with 10,000 images
    )
    for limit, seed in wanted:
        own = [row for row in rows if (row["limit"], row["seed"]) == (limit, seed)]
        best = min(own, key=lambda row: row["held_out_loss"])
        print(f"{limit} %, seed {seed}: {best['source']} of {len(own)}, top1 {best['top1']:.4f}")


if __name__ == "__main__":
    main()
