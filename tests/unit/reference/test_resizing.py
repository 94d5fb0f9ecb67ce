"""Bilinear resizing on integers: hand-made cases, and torch in floats."""

import pytest
import torch
import torch.nn.functional as F

from torchedge.reference.resizing import resized_steps


def test_half_a_step_is_rounded_up_whatever_its_sign():
    rows = torch.tensor([[[[1.0, 2.0]], [[-2.0, -1.0]]]])
    found = resized_steps(rows, (1, 3), align_corners=True)
    assert found.tolist() == [[[[1.0, 2.0, 2.0]], [[-2.0, -1.0, -1.0]]]]


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("sizes", [(1, 1), (3, 9), (14, 5), (31, 32)])
def test_it_is_torchs_resizing_to_half_a_step_and_what_weights_of_11_bits_round(
    sizes, align_corners
):
    steps = torch.randint(-128, 128, (2, 3, 7, 6), generator=torch.Generator().manual_seed(0))
    found = resized_steps(steps.double(), sizes, align_corners=align_corners)
    wanted = F.interpolate(steps.double(), size=sizes, mode="bilinear", align_corners=align_corners)
    assert (found - wanted).abs().max() <= 0.5 + 2 * 255 / 2**12
