"""Numbers for what is removed together: a union-find whose sets can be closed, with a reason."""

from typing import final

import torch
from torch import Tensor

__all__ = ["FIXED", "Units"]

FIXED = 0  # the label of what is never removed: zeros of a pad, constants made in ``forward``


@final
class Units:
    """Labels of single channels, joined into units; a unit goes or stays as a whole.

    Example:
        >>> units = Units()
        >>> a, b = units.fresh(2), units.fresh(2)
        >>> units.join(a, b)
        >>> units.roots(a).tolist() == units.roots(b).tolist()
        True
        >>> units.close(a[:1], "an example")
        >>> units.reason(int(b[0])), units.reason(int(b[1]))
        ('an example', None)
    """

    def __init__(self) -> None:
        self._parents = [FIXED]
        self._reasons: dict[int, str] = {FIXED: "it meets values that are not a layer's"}

    def fresh(self, count: int) -> Tensor:
        """New labels, each a unit of its own."""
        begin = len(self._parents)
        self._parents.extend(range(begin, begin + count))
        return torch.arange(begin, begin + count)

    def root(self, label: int) -> int:
        """The number of the unit that a label belongs to."""
        parents = self._parents
        while parents[label] != label:
            parents[label] = parents[parents[label]]
            label = parents[label]
        return label

    def roots(self, labels: Tensor) -> Tensor:
        """:meth:`root` of every entry."""
        unique, inverse = labels.reshape(-1).unique(return_inverse=True)
        found = torch.tensor([self.root(label) for label in unique.tolist()], dtype=torch.long)
        return found[inverse].view(labels.shape)

    def join(self, first: Tensor, second: Tensor) -> None:
        """Make units of the labels at equal places; the two have one shape, or broadcast to it."""
        pairs = torch.stack(
            [x.reshape(-1) for x in torch.broadcast_tensors(self.roots(first), self.roots(second))]
        )
        for a, b in pairs[:, pairs[0] != pairs[1]].unique(dim=1).T.tolist():
            self._join(self.root(a), self.root(b))

    def join_along(self, labels: Tensor, axis: int) -> None:
        """Make one unit of all labels in a line along an axis."""
        self.join(labels, labels.narrow(axis, 0, 1))

    def close(self, labels: Tensor, reason: str) -> None:
        """Say that these units cannot be removed; the first reason given stays."""
        for label in labels.reshape(-1).unique().tolist():
            self._reasons.setdefault(self.root(label), reason)

    def reason(self, label: int) -> str | None:
        """Why the unit of a label cannot be removed, or ``None``."""
        return self._reasons.get(self.root(label))

    def _join(self, a: int, b: int) -> None:
        if a == b:
            return
        keep, gone = min(a, b), max(a, b)
        self._parents[gone] = keep
        reason = self._reasons.pop(gone, None)
        if reason is not None:
            self._reasons.setdefault(keep, reason)
