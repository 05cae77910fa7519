"""An objective of one's own, and the whole command line with it: nothing in the package is changed.

    python new_objective.py pretrain --preset small --objective.kind focal-electra --data data/ --out runs/focal
    python new_objective.py compare --objectives electra focal-electra --data data/ --out cmp/

A discriminator sees seven originals for each replaced token, and is soon sure of most. Focal loss (Lin et al., 2017,
equation 4) weighs by how unsure it is: with p the probability that it gives to what is right, -(1 - p)^gamma * log p.
"""

import sys
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from electra import add_objective
from electra.cli import main
from electra.objectives.build import Electra
from electra.objectives.metrics import detection_statistics
from electra.objectives.terms import Detection, TermResult


class Focal(Detection):
    """-(1 - p)^gamma * log p, at all tokens."""

    def __init__(self, weight: float, gamma: float):
        super().__init__(weight, "all")
        self.gamma = gamma

    def forward(self, tower, hidden, view):
        logits, labels, counted = self.logits(tower, hidden, view), self.labels(view), self.counted(view)
        each = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")  # -log p
        focal = (1 - torch.exp(-each)) ** self.gamma * each
        # The figures keep the plain loss, so that skill stays comparable with other objectives'.
        return TermResult(
            (focal * counted).sum(), detection_statistics(each.detach(), logits.detach(), labels, counted)
        )


@add_objective
@dataclass(frozen=True)
class FocalElectra(Electra):
    """ELECTRA with focal loss: what the discriminator is sure of weighs little."""

    kind: str = "focal-electra"
    gamma: float = 2.0

    def terms(self, encoder, small):
        return {"discriminator": Focal(self.detection_weight, self.gamma)}


if __name__ == "__main__":
    sys.exit(main())
