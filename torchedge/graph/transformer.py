"""Transformer encoders of torch.nn written out, so that their layers are layers like any other."""

from typing import final

from torch import Tensor, nn

from torchedge.graph.attention import SelfAttention

__all__ = ["Encoder", "EncoderLayer"]


@final
class EncoderLayer(nn.Module):
    """What ``nn.TransformerEncoderLayer`` computes, with the names of its layers.

    The original is one node of a graph and chooses between kernels; this is the computation itself
    (Vaswani et al. 2017, section 3.1).

    Args:
        layer: The original, whose layers are used.

    Example:
        >>> import torch
        >>> theirs = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
        >>> x = torch.rand(1, 3, 8)
        >>> torch.allclose(EncoderLayer(theirs)(x), theirs(x), atol=1e-5)
        True
    """

    def __init__(self, layer: nn.TransformerEncoderLayer) -> None:
        super().__init__()
        self.self_attn = SelfAttention.of(layer.self_attn)
        self.linear1, self.dropout, self.linear2 = layer.linear1, layer.dropout, layer.linear2
        self.norm1, self.norm2 = layer.norm1, layer.norm2
        self.dropout1, self.dropout2 = layer.dropout1, layer.dropout2
        self.activation = layer.activation
        self.norm_first = layer.norm_first
        self.training = layer.training

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Attend, then two linear layers, each with a residual and a norm."""
        masks = src_key_padding_mask, src_mask
        if self.norm_first:
            x = src + self._attended(self.norm1(src), *masks)
            further: Tensor = x + self._transformed(self.norm2(x))
            return further
        x = self.norm1(src + self._attended(src, *masks))
        normalised: Tensor = self.norm2(x + self._transformed(x))
        return normalised

    def _attended(self, x: Tensor, padding: Tensor | None, mask: Tensor | None) -> Tensor:
        attended: Tensor = self.self_attn(x, x, x, key_padding_mask=padding, attn_mask=mask)[0]
        dropped: Tensor = self.dropout1(attended)
        return dropped

    def _transformed(self, x: Tensor) -> Tensor:
        inner = self.dropout(self.activation(self.linear1(x)))
        dropped: Tensor = self.dropout2(self.linear2(inner))
        return dropped


@final
class Encoder(nn.Module):
    """What ``nn.TransformerEncoder`` computes: its layers in turn, then a norm.

    Args:
        encoder: The original, whose layers are used.
    """

    def __init__(self, encoder: nn.TransformerEncoder) -> None:
        super().__init__()
        self.layers, self.norm = encoder.layers, encoder.norm
        self.training = encoder.training

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """Run the layers, each with the same masks."""
        for layer in self.layers:
            src = layer(src, src_mask=mask, src_key_padding_mask=src_key_padding_mask)
        return src if self.norm is None else self.norm(src)
