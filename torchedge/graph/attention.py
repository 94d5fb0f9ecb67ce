"""Multi-head attention written out, so that its projections are linear layers like any other."""

from typing import ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

__all__ = ["SelfAttention"]


@final
class _DroppedAttention(nn.Module):
    """Attention with dropout, one node of a graph because it depends on the mode."""

    traced_whole: ClassVar[bool] = True

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(query, key, value, mask, dropout_p=dropout)


@final
class _SequenceFirst(nn.Module):
    """In training, lays a tensor out as ``nn.MultiheadAttention`` does, with the sequence first.

    A dropout behind it follows the layout in memory, so it drops the same values.
    """

    traced_whole: ClassVar[bool] = True
    unchanged_in_evaluation: ClassVar[bool] = True

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1).contiguous().transpose(0, 1) if self.training else x


@final
class SelfAttention(nn.Module):
    """What ``nn.MultiheadAttention`` computes, its projections as linear layers.

    ``softmax(Q Kᵀ / √d) V`` for each head (Vaswani et al. 2017, section 3.2). The attention itself
    stays in float; its dropout is on in training only.

    Args:
        features: Width of the embedding.
        heads: Number of heads.
        bias: Whether the projections have one.
        batch_first: Inputs are ``(batch, sequence, features)``; otherwise the sequence is first.
        dropout: Share of the attention's weights that is dropped in training.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> theirs = nn.MultiheadAttention(8, 2, batch_first=True)
        >>> x = torch.randn(1, 3, 8)
        >>> ours = SelfAttention.of(theirs)
        >>> torch.allclose(ours(x, x, x)[0], theirs(x, x, x)[0], atol=1e-6)
        True
    """

    def __init__(
        self, features: int, heads: int, *, bias: bool, batch_first: bool, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.heads = heads
        self.batch_first = batch_first
        self.query = nn.Linear(features, features, bias)
        self.key = nn.Linear(features, features, bias)
        self.value = nn.Linear(features, features, bias)
        self.out_proj = nn.Linear(features, features, bias)
        self.laid_out = _SequenceFirst() if batch_first else nn.Identity()
        self.attend = _DroppedAttention(dropout) if dropout else F.scaled_dot_product_attention

    @staticmethod
    def can_stand_for(attention: nn.MultiheadAttention) -> bool:
        """Whether ``attention`` is of the plain kind: one width, no added keys."""
        return attention.in_proj_weight is not None and attention.bias_k is None

    @staticmethod
    def of(attention: nn.MultiheadAttention) -> "SelfAttention":
        """The same computation with the same weights."""
        has_bias = attention.in_proj_bias is not None
        opened = SelfAttention(
            attention.embed_dim,
            attention.num_heads,
            bias=has_bias,
            batch_first=attention.batch_first,
            dropout=attention.dropout,
        )
        projections = (opened.query, opened.key, opened.value)
        for layer, weight in zip(projections, attention.in_proj_weight.chunk(3), strict=True):
            layer.weight = nn.Parameter(weight.detach().clone())
        if has_bias:
            for layer, bias in zip(projections, attention.in_proj_bias.chunk(3), strict=True):
                layer.bias = nn.Parameter(bias.detach().clone())
        _hand_over(attention.out_proj, opened.out_proj)
        return opened.train(attention.training)

    def forward(  # noqa: PLR0913 - called as nn.MultiheadAttention is
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:
        """Attend; the weights are not returned.

        A mask of booleans is true where nothing is attended to, one of numbers is added.
        ``is_causal`` only says what kind of mask ``attn_mask`` is.
        """
        q, k, v = (
            self._split(layer(x))
            for layer, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        attended = self.attend(q, k, v, self._mask(attn_mask, key_padding_mask, q.dtype))
        projected: Tensor = self.laid_out(self.out_proj(self._joined(attended)))
        return projected, None

    def _mask(
        self, attn_mask: Tensor | None, key_padding_mask: Tensor | None, dtype: torch.dtype
    ) -> Tensor | None:
        """Both masks as one that is added, to be broadcast to ``(batch, heads, query, key)``."""
        masks = []
        if attn_mask is not None:
            added = _added(attn_mask, dtype)
            masks.append(added.unflatten(0, (-1, self.heads)) if added.ndim == 3 else added)
        if key_padding_mask is not None:
            masks.append(_added(key_padding_mask, dtype)[:, None, None, :])
        return sum(masks[1:], masks[0]) if masks else None

    def _split(self, x: Tensor) -> Tensor:
        """To ``(batch, heads, sequence, features of a head)``."""
        ordered = x if self.batch_first else x.transpose(0, 1)
        heads: Tensor = ordered.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return heads

    def _joined(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2).flatten(2)
        return x if self.batch_first else x.transpose(0, 1)


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask whose values are added to the products of queries and keys."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, float("-inf"))


def _hand_over(source: nn.Linear, target: nn.Linear) -> None:
    """Give ``target`` the parameters of ``source``, with what parametrises them: a pruning mask."""
    for name in ("weight", "bias"):
        if not parametrize.is_parametrized(source, name):
            setattr(target, name, getattr(source, name))
            continue
        chain = source.get_submodule(f"parametrizations.{name}")
        setattr(target, name, chain.original)
        for step in chain.children():
            parametrize.register_parametrization(target, name, step, unsafe=True)
