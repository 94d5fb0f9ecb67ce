"""Networks whose Python code decides what is computed, and networks that cannot be a graph."""

import warnings
from collections import OrderedDict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

X = (torch.rand(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)),)


class Two(nn.Module):
    """Two convolutions and a norm, for others to use."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(4)


class OptionalArgument(Two):
    def forward(self, x, skip=None):
        y = self.second(torch.relu(self.first(x)))
        return y if skip is None else 2 * y


class Pieces(Two):
    def forward(self, x):
        pieces = list(self.first(x).chunk(2, 1))
        pieces.append(pieces[-1] + 1)
        pieces.extend(piece * 2 for piece in self.second(x).split(1, 1))
        return torch.cat(pieces, 1)


class Sizes(Two):
    def forward(self, x):
        batch, channels, *size = self.first(x).shape
        y = self.second(x).view(batch, channels, *x.size()[2:])
        wide = F.interpolate(y, size=[2 * s for s in size])
        flat = y.reshape(len(x), -1) + torch.zeros(x.shape[0], 1)
        return wide, flat, torch.arange(flat.shape[1]) + flat


class ConstantsOfTracedSizes(Two):
    """A buffer's row and a constant that are brought to the sizes of the input."""

    def __init__(self):
        super().__init__()
        self.register_buffer("places", torch.arange(3.0)[None, :, None, None])

    def forward(self, x):
        batch, channels, height, width = x.shape
        rows = self.places[:, :1].expand(batch, channels, -1, -1)
        columns = torch.linspace(0, 1, 4)[None, None, None].repeat(batch, channels, height, 1)
        filled = self.places.new_full((batch, 1, height, width), 2.0)
        return self.first(x + rows + columns.mean(-1, keepdim=True)) + filled


class Facts(Two):
    def forward(self, x):
        if isinstance(x, Tensor) and x.ndim == 4 and x.dim() == 4 and x.is_floating_point():
            x = self.first(x).to(x.dtype)
        if x.shape[1] % 2 == 0 and x.dtype != torch.float64:
            x = self.second(x.float())
        return x.to(torch.float32)


class ReadWeight(Two):
    def forward(self, x):
        return self.norm(self.first(x)) * self.first.weight.abs().mean() + self.second(x)


class ChangesInPlace(Two):
    """Whatever names a tensor afterwards reads what was left of it."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.first(x)
        alias = y
        y += 1
        y = self.second(alias) + self.act(y) + y
        z = self.second(y)
        z[:, 0] = 0.5
        F.relu(z, inplace=True)
        z.mul_(2)
        torch.relu_(z)
        return z + y


class Noise(nn.Module):
    def forward(self, x):
        return x + 0.1 * torch.randn_like(x) if self.training else x


class Skip(nn.Module):
    def forward(self, x):
        return x * (torch.rand(len(x), 1, 1, 1) > 0.5) / 0.5 if self.training else x


class Noisy(Two):
    def __init__(self) -> None:
        super().__init__()
        self.noise = nn.ModuleList([Noise(), Skip()])

    def forward(self, x):
        return self.noise[1](self.second(self.noise[0](self.norm(self.first(x))))) + x


class FunctionalDropout(Two):
    def forward(self, x):
        return F.dropout(self.second(F.relu(self.norm(self.first(x)))), 0.3, self.training)


class DropoutThatIsOff(Two):
    def forward(self, x):
        return F.dropout(self.second(self.first(x)), 0.3, False)


class NormAct(nn.BatchNorm2d):
    """A batch norm with its activation in one class, written as image-model libraries do."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.ReLU()

    def forward(self, x):
        momentum = self.momentum
        if self.training and self.track_running_stats:
            self.num_batches_tracked.add_(1)
        training = self.training or self.running_mean is None
        mean, var = self.running_mean, self.running_var
        x = F.batch_norm(x, mean, var, self.weight, self.bias, training, momentum, self.eps)
        return self.act(x)


class NormActs(Two):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = NormAct(4), NormAct(4)

    def forward(self, x):
        return self.b(self.second(self.a(self.first(x))))


class Frozen(Two):
    def __init__(self) -> None:
        super().__init__()
        self.frozen = FrozenBatchNorm2d(4)
        for index, buffer in enumerate(self.frozen.buffers()):
            buffer.copy_(torch.linspace(0.5, 1.5 + index, 4))
        self.up = nn.ConvTranspose2d(4, 4, 2, groups=2)

    def forward(self, x):
        return self.frozen(self.up(torch.relu(self.frozen(self.first(x)))))


class Attends(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, dropout=dropout)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = x.flatten(2)[..., :8]
        return self.head(self.attention(x, x, x, need_weights=False)[0])


class MaskedAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = x.flatten(2)[..., :8]
        later = torch.ones(4, 4, dtype=torch.bool).triu(1)
        padded = torch.zeros(len(x), 4, dtype=torch.bool)
        padded[:, 3] = True
        y = self.attention(x, x, x, padded, False, later)[0]
        return self.head(self.attention(y, y, y, attn_mask=later.float(), need_weights=False)[0])


class Encoded(nn.Module):
    """Transformer encoders of torch.nn, with and without a mask."""

    def __init__(self, *, norm_first: bool, dropout: float) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            *(8, 2, 16, dropout, "gelu"), batch_first=True, norm_first=norm_first
        )
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8), enable_nested_tensor=False)
        self.single, self.head = nn.TransformerEncoderLayer(8, 2, 16, dropout), nn.Linear(8, 3)

    def forward(self, x):
        x = x.flatten(2)[..., :8]
        later = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.head(self.single(self.encoder(x, mask=later, is_causal=True)))


class Named(Two):
    def forward(self, x):
        y = self.first(x)
        return OrderedDict(out=self.second(y), aux=y)


@dataclass
class Answer:
    scores: Tensor
    features: Tensor


class AsDataclass(Two):
    def forward(self, x):
        y = self.first(x)
        return Answer(scores=self.second(y), features=y)


class KeepsActivation(Two):
    def forward(self, x):
        self.kept = self.first(x)
        return self.second(self.kept)


class OwnQuantizers(Two):
    def __init__(self) -> None:
        super().__init__()
        self.quantizers = nn.ModuleList([nn.Conv2d(4, 4, 1)])

    def forward(self, x):
        return self.quantizers[0](self.first(x))


def hooked() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1))
    net[0].register_forward_hook(lambda module, inputs, output: 2 * output)
    net[2].register_forward_pre_hook(lambda module, inputs: (inputs[0] + 1,))
    net.register_forward_hook(lambda module, inputs, output: output - 1)
    return net


def spectrally_normed(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it is old, and in many checkpoints
        return torch.nn.utils.spectral_norm(layer)


def weight_normed() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        layer = torch.nn.utils.weight_norm(nn.Conv2d(4, 4, 3))
    return nn.Sequential(layer, nn.ReLU(), nn.Conv2d(4, 4, 1))


def keeping_an_activation_with_a_history() -> nn.Module:
    net = KeepsActivation()
    net(*X).sum().backward()
    return net


FOLLOWED = {
    "optional_argument": (OptionalArgument, X),
    "optional_argument_given": (OptionalArgument, (*X, *X)),
    "pieces": (Pieces, X),
    "sizes": (Sizes, X),
    "constants_of_traced_sizes": (ConstantsOfTracedSizes, X),
    "facts": (Facts, X),
    "weight_read_elsewhere": (ReadWeight, X),
    "in_place": (ChangesInPlace, X),
    "noise_and_dropped_paths": (Noisy, X),
    "functional_dropout": (FunctionalDropout, X),
    "dropout_that_is_off": (DropoutThatIsOff, X),
    "norm_and_activation": (NormActs, X),
    "frozen_norm": (Frozen, X),
    "attention": (lambda: Attends(0.0), X),
    "attention_with_dropout": (lambda: Attends(0.5), X),
    "masked_attention": (MaskedAttention, X),
    "encoder": (lambda: Encoded(norm_first=False, dropout=0.0), X),
    "encoder_norm_first_with_dropout": (lambda: Encoded(norm_first=True, dropout=0.2), X),
    "named_outputs": (Named, X),
    "dataclass_output": (AsDataclass, X),
    "kept_activation": (keeping_an_activation_with_a_history, X),
    "own_quantizers": (OwnQuantizers, X),
    "hooks": (hooked, X),
    "weight_norm_by_hooks": (weight_normed, X),
    "spectral_norm_by_hooks": (
        lambda: nn.Sequential(spectrally_normed(nn.Conv2d(4, 4, 3)), nn.ReLU()),
        X,
    ),
    "data_parallel": (lambda: nn.DataParallel(FunctionalDropout()), X),
    "averaged": (lambda: torch.optim.swa_utils.AveragedModel(FunctionalDropout()), X),
}


class Auxiliary(Two):
    def forward(self, x):
        y = self.first(x)
        return (self.second(y), y) if self.training else self.second(y)


class Doubled(Two):
    def forward(self, x):
        y = self.second(self.first(x))
        return 2 * y if self.training else y


class InPlace(Two):
    def forward(self, x):
        y = self.first(x)
        part = y[:, :2]
        part += 1
        return self.second(y)


class Random(Two):
    def forward(self, x):
        return self.second(self.first(x)) + torch.rand(4, 1, 1)


class Branching(Two):
    def forward(self, x):
        y = self.first(x)
        return self.second(y) if y.sum() > 0 else y


class Counting(Two):
    def forward(self, x):
        return self.second(x)[: int(x.amax())]


class Masking(Two):
    def forward(self, x):
        y = self.first(x)
        return y[y > 0]


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(4, 4, 1), nn.ReLU())
        self.recurrent, self.head = nn.LSTM(64, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.recurrent(self.body(x.flatten(2)))[0])


DIFFERENT_IN_TRAINING = {"auxiliary_output": Auxiliary, "doubled": Doubled}
REFUSED = {
    "in_place": (InPlace, "'the model itself' computes something else"),
    "random": (Random, "'the model itself' computes something else"),
    "branch_on_data": (Branching, "if y.sum() > 0"),
    "count_from_data": (Counting, "int(x.amax())"),
    "mask": (Masking, "y[y > 0]"),
    "recurrent": (Recurrent, "'recurrent' is a LSTM"),
}
