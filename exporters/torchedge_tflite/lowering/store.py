"""Tensors that were computed so far, handed out with the grid and the axes that a reader wants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np

from torchedge_tflite.lowering.draft import Draft
from torchedge_tflite.lowering.meaning import Value
from torchedge_tflite.lowering.orders import Order, in_order, move_between, plain, reshaped
from torchedge_tflite.qdq_reader import Grid

__all__ = ["Store", "Stored"]

_SIXTY_FOURTHS = 64  # a power of two: 64 steps of 1/64 are 1 exactly
_Key: TypeAlias = tuple[str, tuple[Grid | None, ...], Order]


@final
@dataclass(frozen=True, kw_only=True)
class Stored:
    """A tensor of the draft.

    Args:
        index: In the draft.
        order: Of its axes.
        grid: ``None`` for float32.
    """

    index: int
    order: Order
    grid: Grid | None


@final
class Store:
    """What operations return goes in; what they read comes out, converted once.

    Args:
        draft: Where conversions are written.
        wanted: The grid on which the readers of a tensor want it, by its name.
        readers: How many there are.
    """

    def __init__(
        self, draft: Draft, wanted: Mapping[str, Grid], readers: Mapping[str, int]
    ) -> None:
        self.draft = draft
        self.wanted = wanted
        self.readers = readers
        self._stored: dict[str, Stored] = {}
        self._flat: dict[str, tuple[Value, tuple[int, ...]]] = {}
        self._made: dict[_Key, int] = {}

    def put(self, value: Value, order: Order, grid: Grid | None) -> int:
        """A new tensor for what an operation returns, by its index."""
        dtype = None if grid else value.dtype
        index = self.draft.activation(value.name, in_order(value.shape, order), grid, dtype)
        self.keep(value, Stored(index=index, order=order, grid=grid))
        return index

    def keep(self, value: Value, stored: Stored) -> None:
        """A tensor that is there already is what an operation returns."""
        self._stored[value.name] = stored
        self._made[value.name, (), stored.order] = stored.index

    def is_read_once(self, value: Value) -> bool:
        """Whether one operation reads it, and the graph does not return it."""
        return self.readers.get(value.name, 0) == 1

    def is_own(self, value: Value) -> bool:
        """Whether its tensor was written for it, and is no other one's under a second name."""
        tensor = self.draft.tensors[self._base(value).index]
        return tensor.name == value.name

    def put_flat(self, value: Value, source: Value) -> None:
        """A tensor in another shape, written on demand: its reader may not need PyTorch's order."""
        self._flat[value.name] = (source, value.shape)

    def flat_source(self, value: Value) -> Value | None:
        """What was flattened, where nothing changes its grid afterwards."""
        source = self._flat.get(value.name, (None,))[0]
        if source is None:
            return None
        grid = self.get(source).grid
        return source if all(other == grid for other in value.grids) else None

    def get(self, value: Value, order: Order | None = None) -> Stored:
        """A tensor as a reader sees it: on its last grid, or as it is where nothing rounds it.

        Args:
            value: What is read.
            order: Of the axes; as they lie if left out.
        """
        found = self._base(value)
        for count, grid in enumerate(value.grids, 1):
            found = self._on(value, value.grids[:count], found, grid)
        return found if order is None else self._moved(value, value.grids, found, order)

    def on_grid(self, value: Value, grid: Grid, order: Order | None = None) -> Stored:
        """The same on another grid."""
        found = self._on(value, (*value.grids, grid), self.get(value), grid)
        return found if order is None else self._moved(value, (*value.grids, grid), found, order)

    def floats(self, value: Value, order: Order | None = None) -> Stored:
        """The same as floats."""
        found = self.get(value)
        if found.grid is not None:
            key = (value.name, (*value.grids, None), found.order)
            if key not in self._made:
                shape = in_order(value.shape, found.order)
                self._made[key] = self.draft.activation(f"{value.name}_float", shape, None)
                self.draft.operator("DEQUANTIZE", [found.index], [self._made[key]])
            found = Stored(index=self._made[key], order=found.order, grid=None)
        grids = (*value.grids, None)
        return found if order is None else self._moved(value, grids, found, order)

    def places(self) -> dict[str, frozenset[int]]:
        """Every tensor of the draft that holds a network's tensor, by that one's name."""
        found: dict[str, set[int]] = {}
        for name, _, _ in self._made:
            found.setdefault(name, set())
        for (name, _, _), index in self._made.items():
            found[name].add(index)
        for name, (source, _) in self._flat.items():
            found.setdefault(name, set()).update(found.get(source.name, ()))
        return {name: frozenset(indices) for name, indices in found.items()}

    def grid_of(self, value: Value) -> Grid | None:
        """The grid on which a reader sees a value."""
        if value.grids:
            return value.grids[-1]
        if value.name not in self._stored and value.name in self._flat:
            return self.grid_of(self._flat[value.name][0])
        return self._base(value).grid

    def order_of(self, value: Value) -> Order:
        """How its axes lie."""
        return self._base(value).order

    def _base(self, value: Value) -> Stored:
        if value.name not in self._stored and value.name in self._flat:
            source, shape = self._flat[value.name]
            found = self.get(source)
            order = reshaped(source.shape, found.order, shape)
            if order is None:
                found, order = self.get(source, plain(len(source.shape))), plain(len(shape))
            index = self.put(Value(name=value.name, shape=shape), order, found.grid)
            self.reshape(found.index, in_order(shape, order), index)
        return self._stored[value.name]

    def _on(
        self, value: Value, grids: tuple[Grid | None, ...], found: Stored, grid: Grid
    ) -> Stored:
        if found.grid == grid:
            return found
        key = (value.name, grids, found.order)
        if key not in self._made:
            shape = in_order(value.shape, found.order)
            self._made[key] = self.draft.activation(f"{value.name}_on_grid", shape, grid)
            self._write_change(found, self._made[key])
        return Stored(index=self._made[key], order=found.order, grid=grid)

    def _write_change(self, found: Stored, result: int) -> None:
        """From one grid to another a product with 1: XNNPACK's QUANTIZE has factors of 8 bits."""
        if found.grid is None:
            self.draft.operator("QUANTIZE", [found.index], [result])
            return
        one = self.draft.constant(
            "one",
            np.full((1,), _SIXTY_FOURTHS, np.int8),
            np.array([1 / _SIXTY_FOURTHS], np.float32),
        )
        options = {"fusedActivationFunction": "NONE"}
        self.draft.operator("MUL", [found.index, one], [result], **options)

    def _moved(
        self, value: Value, grids: tuple[Grid | None, ...], found: Stored, order: Order
    ) -> Stored:
        if found.order == order:
            return found
        key = (value.name, (*grids, found.grid), order)
        if key not in self._made:
            self._made[key] = self._move(value, found, order)
        return Stored(index=self._made[key], order=order, grid=found.grid)

    def _move(self, value: Value, found: Stored, order: Order) -> int:
        move = move_between(value.shape, found.order, order)
        index, name = found.index, value.name
        if move.permutation:
            merged = self._reshaped(index, f"{name}_merged", move.merged, found.grid)
            shape = [move.merged[axis] for axis in move.permutation]
            index = self.draft.activation(f"{name}_transposed", shape, found.grid)
            axes = self.draft.constant("permutation", np.array(move.permutation, np.int32))
            self.draft.operator("TRANSPOSE", [merged, axes], [index])
        return self._reshaped(index, f"{name}_in_order", move.shape, found.grid)

    def _reshaped(self, index: int, name: str, shape: Sequence[int], grid: Grid | None) -> int:
        if self.draft.tensors[index].shape == tuple(shape):
            return index
        result = self.draft.activation(name, shape, grid)
        self.reshape(index, shape, result)
        return result

    def reshape(self, index: int, shape: Sequence[int], result: int) -> None:
        """Write a RESHAPE."""
        sizes = self.draft.constant("shape", np.array(shape, np.int32))
        self.draft.operator("RESHAPE", [index, sizes], [result], newShape=list(shape))

    def reshaped_order(self, value: Value, shape: Sequence[int]) -> Order | None:
        """The order of a reshaped tensor, if its numbers can stay where they are."""
        return reshaped(value.shape, self.get(value).order, shape)
