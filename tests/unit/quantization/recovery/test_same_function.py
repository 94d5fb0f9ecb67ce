from dataclasses import dataclass

import torch
from torch import Tensor, nn

from torchedge.quantization.recovery.same_function import same_function


@dataclass
class Answer:
    scores: Tensor


class Scores(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return Answer(scores=self.factor * x)


def test_networks_that_differ_inside_of_a_dataclass_are_not_the_same():
    data = [(torch.ones(2, 3),)]
    assert same_function(Scores(2.0), Scores(2.0), data)
    assert not same_function(Scores(2.0), Scores(3.0), data)
