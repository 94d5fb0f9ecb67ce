"""The written C++, compiled and run, beside torchaudio."""

import shutil
import subprocess

import numpy as np
import pytest
import torch

from torchedge.data import Mfcc, write_mfcc
from torchedge.data.mfcc import COEFFICIENTS, FRAMES
from torchedge.errors import OutputExistsError

HOST = shutil.which("g++")
MAIN = """
#include <stdio.h>
#include "mfcc.h"
static float samples[torchedge::kMfccSamples];
static float result[torchedge::kMfccFrames * torchedge::kMfccCoefficients];
int main() {
  while (fread(samples, sizeof samples, 1, stdin) == 1) {
    torchedge::mfcc(samples, result);
    fwrite(result, sizeof result, 1, stdout);
  }
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    pytest.importorskip("torchaudio")
    if HOST is None:
        pytest.skip("g++ is not installed")
    folder = tmp_path_factory.mktemp("device") / "mfcc"
    write_mfcc(folder)
    (folder / "main.cpp").write_text(MAIN)
    options = ["-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wdouble-promotion", "-std=c++11"]
    files = [folder / "mfcc.cpp", folder / "main.cpp", "-o", folder / "program"]
    done = subprocess.run([HOST, *options, "-O2", *files], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return folder / "program"


def clips():
    """Noise, a rising tone, a click in silence, and silence."""
    seconds = torch.arange(16_000) / 16_000
    noise = 0.1 * torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    tone = 0.5 * torch.sin(2 * torch.pi * 300 * seconds * (1 + 3 * seconds)) + 0.001 * noise
    click = torch.zeros(16_000)
    click[8000] = 0.9
    return torch.stack([noise, tone, click, torch.zeros(16_000)])


def test_the_device_computes_the_coefficients_that_the_network_was_trained_on(program):
    done = subprocess.run(
        [program], input=clips().numpy().tobytes(), capture_output=True, check=True
    )
    found = np.frombuffer(done.stdout, np.float32).reshape(-1, FRAMES, COEFFICIENTS)
    torch_says = Mfcc()(clips()).numpy().transpose(0, 2, 1)
    exact = Mfcc().double()(clips().double()).numpy().transpose(0, 2, 1)
    # Both add float32 numbers in an order of their own: they are about as far from the exact sum.
    own_errors, errors = (np.abs(x - exact).max((1, 2)) for x in (torch_says, found))
    assert (errors <= 4 * own_errors).all()
    assert own_errors.max() < 1e-3
    assert np.abs(exact).max() > 100


def test_a_folder_that_exists_is_replaced_only_when_asked(tmp_path):
    pytest.importorskip("torchaudio")
    write_mfcc(tmp_path / "mfcc")
    with pytest.raises(OutputExistsError, match="exists"):
        write_mfcc(tmp_path / "mfcc")
    write_mfcc(tmp_path / "mfcc", overwrite=True)
    assert sorted(p.name for p in (tmp_path / "mfcc").iterdir()) == ["mfcc.cpp", "mfcc.h"]
