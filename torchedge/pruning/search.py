"""Blocks of channels are taken until a network costs no more than it may."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import TypeAlias, final

from torchedge.errors import PruningError
from torchedge.pruning.cost import Costs, Kept
from torchedge.pruning.dependency import OUTPUT
from torchedge.pruning.groups import ChannelGroup
from torchedge.pruning.latency import Latencies, block_places
from torchedge.pruning.ranking import Block

__all__ = ["Cost", "Search"]

Cost: TypeAlias = Callable[[Kept], float]


@final
@dataclass(frozen=True, kw_only=True)
class Search:
    """Takes blocks until the cost is low enough.

    Args:
        costs: Numbers the channels.
        queues: The blocks of each group, in the order in which they go.
        cost: What must come down.
        name: Of the cost, for errors.
        share: Of the cost of everything that may be left, in (0, 1].
    """

    costs: Costs
    queues: list[list[Block]]
    cost: Cost
    name: str
    share: float

    @cached_property
    def limit(self) -> float:
        """The cost that is allowed; a sum in another order is no reason to take one more."""
        return self.share * self.cost(self.costs.everything) * (1 + 1e-9)

    def ranked(self) -> Kept:
        """Take blocks in the order of their scores.

        Raises:
            PruningError: The cost cannot come down so far.
        """
        order = sorted((b for queue in self.queues for b in queue), key=lambda b: b.score)
        self._require_possible(order)
        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            if self.cost(self._without(order[:middle])) <= self.limit:
                high = middle
            else:
                low = middle + 1
        taken = order[: max(low - 1, 0)]
        return self._last(taken) if low else self.costs.everything

    def _last(self, taken: Sequence[Block]) -> Kept:
        """Of all blocks that come next, take the one that just meets the target, and fill up."""
        gone = set(map(id, taken))
        rest = [[b for b in queue if id(b) not in gone] for queue in self.queues]
        ends = [(self.cost(self._without([*taken, q[0]])), q[0]) for q in rest if q]
        met = [(cost, block) for cost, block in ends if cost <= self.limit]
        _, last = max(met, key=lambda pair: pair[0])
        return self._without(self._filled([*taken, last]))

    def _filled(self, taken: Sequence[Block]) -> list[Block]:
        """Give back what there is room for, the most important first."""
        gone = set(map(id, taken))
        left = [[b for b in queue if id(b) in gone] for queue in self.queues]
        waiting = [queue for queue in left if queue]
        while waiting:
            queue = max(waiting, key=lambda q: q[-1].score)
            without = [b for q in left for b in q if b is not queue[-1]]
            if self.cost(self._without(without)) <= self.limit:
                queue.pop()
            else:
                waiting = [q for q in waiting if q is not queue]
            waiting = [q for q in waiting if q]
        return [b for queue in left for b in queue]

    def by_time_saved(self, latencies: Latencies) -> Kept:
        """Take, again and again, the block that saves the most time for what it matters.

        Raises:
            PruningError: The cost cannot come down so far.
        """
        self._require_possible([b for queue in self.queues for b in queue])
        kept, places = self.costs.everything.copy(), [0] * len(self.queues)
        taken: list[Block] = []
        while self.cost(kept) > self.limit:
            open_queues = [i for i, queue in enumerate(self.queues) if places[i] < len(queue)]
            best = max(open_queues, key=lambda i: self._worth(kept, i, places[i], latencies))
            taken.append(self.queues[best][places[best]])
            places[best] += 1
            kept[block_places(self.costs, taken[-1])] = False
        return self._without(self._filled(taken))

    def _worth(self, kept: Kept, queue: int, place: int, latencies: Latencies) -> float:
        block = self.queues[queue][place]
        saved = latencies.saved(kept, block, self.costs)
        left = int(kept[self.costs.units(block.group)].sum())
        share = len(block.channels) / left * _layers(block.group)
        return saved / max(block.score * share, 1e-12)

    def _without(self, blocks: Sequence[Block]) -> Kept:
        kept = self.costs.everything.copy()
        for block in blocks:
            kept[block_places(self.costs, block)] = False
        return kept

    def _require_possible(self, blocks: Sequence[Block]) -> None:
        least = self.cost(self._without(blocks))
        if least > self.limit:
            whole = self.cost(self.costs.everything)
            raise PruningError(
                f"{self.name}={self.share} cannot be met: with everything gone that may go, "
                f"{least / whole:.3f} of the original is left. Raise limits.most, lower "
                f"limits.multiple, or leave fewer layers out.{self._closed()}"
            )

    def _closed(self) -> str:
        """Why most groups cannot lose channels, or weights where more of these are in no group."""
        reasons = [group.reason for group in self.costs.groups]
        closed = Counter(reason for reason in reasons if reason not in {None, OUTPUT})
        ungrouped = Counter(self.costs.ungrouped.values())
        of = f"of {len(reasons)} groups cannot be pruned"
        texts = [(n, f" {n} {of}: {reason}.") for reason, n in closed.items()]
        texts += [(n, f" {n} weights are in no group: {r}.") for r, n in ungrouped.items()]
        return max(texts, key=itemgetter(0), default=(0, ""))[1]


def _layers(group: ChannelGroup) -> int:
    """How many layers read the channels of a group: so many times it matters what goes."""
    return max(sum(part.side == "in" for part in group.slices), 1)
