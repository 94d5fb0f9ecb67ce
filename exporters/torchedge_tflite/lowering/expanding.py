"""Operations that TFLite lacks, written as several that it has."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from torchedge.bench.session import Array
from torchedge.errors import ExportError
from torchedge_tflite.lowering.meaning import Constant, Network, Operand, Operation, Value

__all__ = ["expanded"]


def expanded(network: Network) -> Network:
    """The same network of simpler operations.

    Raises:
        ExportError: An operation is of a form that has none.
    """
    network = _with_biases(_with_gelu(network))
    operations = [o for operation in network.operations for o in _expanded(operation)]
    return replace(network, operations=tuple(operations))


def _expanded(operation: Operation) -> Iterator[Operation]:
    rule = _RULES.get(operation.kind)
    if rule is None:
        yield operation
    else:
        yield from rule(operation)


def _step(
    kind: str,
    operands: Sequence[Operand | None],
    result: Value,
    **attributes: object,
) -> Operation:
    return Operation(
        kind=kind,
        name=result.name,
        operands=tuple(operands),
        results=(result,),
        attributes=attributes,
    )


def _number(name: str, value: float | Array) -> Constant:
    return Constant(name=name, values=np.asarray(value, np.float32))


def _inner(operation: Operation, name: str, shape: Sequence[int]) -> Value:
    return Value(name=f"{operation.results[0].name}/{name}", shape=tuple(shape))


def _layer_norm(operation: Operation) -> Iterator[Operation]:
    """Mean, variance, and a product with one over the deviation, in floats."""
    source, scale, *rest = operation.operands
    assert isinstance(source, Value)
    first = int(cast(int, operation.attributes.get("axis", -1))) % len(source.shape)
    axes = list(range(first, len(source.shape)))
    epsilon = float(cast(float, operation.attributes.get("epsilon", 1e-5)))
    yield from _normalised(operation, source, axes, epsilon, scale, rest[0] if rest else None)


def _instance_norm(operation: Operation) -> Iterator[Operation]:
    source, scale, bias = operation.operands
    assert isinstance(source, Value)
    axes = list(range(2, len(source.shape)))
    wide = (1, -1, *(1 for _ in axes))
    epsilon = float(cast(float, operation.attributes.get("epsilon", 1e-5)))
    parts = [_reshaped_constant(part, wide) for part in (scale, bias)]
    yield from _normalised(operation, source, axes, epsilon, *parts)


def _reshaped_constant(operand: Operand | None, shape: Sequence[int]) -> Constant:
    if not isinstance(operand, Constant):
        raise ExportError("a norm's scale is computed; TFLite files here store it.")
    return _number(operand.name, operand.values.reshape(shape))


def _normalised(  # noqa: PLR0913, PLR0917 - the parts of a norm
    operation: Operation,
    source: Value,
    axes: list[int],
    epsilon: float,
    scale: Operand | None,
    bias: Operand | None,
) -> Iterator[Operation]:
    small = [1 if axis in axes else size for axis, size in enumerate(source.shape)]
    places = Constant(name="axes", values=np.array(axes))
    mean, centred = _inner(operation, "mean", small), _inner(operation, "centred", source.shape)
    square, variance = (
        _inner(operation, "square", source.shape),
        _inner(operation, "variance", small),
    )
    safe, inverse = _inner(operation, "safe", small), _inner(operation, "inverse", small)
    unit = _inner(operation, "unit", source.shape)
    yield _step("ReduceMean", [source, places], mean, keepdims=1)
    yield _step("Sub", [source, mean], centred)
    yield _step("Mul", [centred, centred], square)
    yield _step("ReduceMean", [square, places], variance, keepdims=1)
    yield _step("Add", [variance, _number("epsilon", epsilon)], safe)
    yield _step("Rsqrt", [safe], inverse)
    result = operation.results[0]
    after = [(kind, part) for kind, part in (("Mul", scale), ("Add", bias)) if part is not None]
    yield _step("Mul", [centred, inverse], unit if after else result)
    for index, (kind, part) in enumerate(after, 1):
        target = result if index == len(after) else _inner(operation, kind, source.shape)
        yield _step(kind, [unit, part], target)
        unit = target


def _batch_norm(operation: Operation) -> Iterator[Operation]:
    source, scale, bias, mean, variance = operation.operands
    assert isinstance(source, Value)
    parts = [
        cast(Constant, part).values.astype(np.float64) for part in (scale, bias, mean, variance)
    ]
    epsilon = float(cast(float, operation.attributes.get("epsilon", 1e-5)))
    factor = parts[0] / np.sqrt(parts[3] + epsilon)
    yield _affine(operation, source, factor, parts[1] - parts[2] * factor)


def _hard_sigmoid(operation: Operation) -> Iterator[Operation]:
    source = operation.operands[0]
    assert isinstance(source, Value)
    alpha = float(cast(float, operation.attributes.get("alpha", 0.2)))
    beta = float(cast(float, operation.attributes.get("beta", 0.5)))
    line = _inner(operation, "line", source.shape)
    channels = source.shape[1] if len(source.shape) > 1 else 1
    yield replace(
        _affine(operation, source, np.full(channels, alpha), np.full(channels, beta)),
        results=(line,),
    )
    ends = [_number("zero", 0.0), _number("one", 1.0)]
    yield _step("Clip", [line, *ends], operation.results[0])


def _affine(operation: Operation, source: Value, factor: Array, offset: Array) -> Operation:
    """A factor and an offset for each channel, in one operation."""
    numbers = [
        _number(f"{operation.name}/factor", factor),
        _number(f"{operation.name}/offset", offset),
    ]
    return replace(operation, kind="Affine", operands=(source, *numbers), attributes={"axis": 1})


def _einsum(operation: Operation) -> Iterator[Operation]:
    """A product of two tensors, as one of matrices: labels shared, summed, left and right."""
    equation = cast(bytes, operation.attributes["equation"]).decode().replace(" ", "")
    terms, _, result_labels = equation.partition("->")
    labels = terms.split(",")
    if len(labels) != 2 or "." in equation or not result_labels:
        raise ExportError(
            f"'{operation.name}' computes '{equation}'; two terms without dots can be."
        )
    left, right = cast(tuple[Operand, Operand], operation.operands)
    shared = [c for c in labels[0] if c in labels[1] and c in result_labels]
    summed = [c for c in labels[0] if c in labels[1] and c not in result_labels]
    lefts = [c for c in labels[0] if c not in labels[1]]
    rights = [c for c in labels[1] if c not in labels[0]]
    if any(c not in result_labels for c in (*lefts, *rights)):
        raise ExportError(f"'{operation.name}' computes '{equation}', which sums within a term.")
    sizes = dict(zip(labels[0], left.shape, strict=True)) | dict(
        zip(labels[1], right.shape, strict=True)
    )
    a = yield from _matrices(operation, "left", left, labels[0], [shared, lefts, summed], sizes)
    b = yield from _matrices(operation, "right", right, labels[1], [shared, summed, rights], sizes)
    groups = [[sizes[c] for c in group] for group in (shared, lefts, rights)]
    if isinstance(b, Constant):
        flat = (1, *(int(np.prod(g)) for g in groups[1:]))
    else:
        flat = tuple(int(np.prod(g)) for g in groups)
    product = _inner(operation, "product", flat)
    yield _step("MatMul", [a, b], product)
    wide = _inner(operation, "wide", [size for group in groups for size in group])
    yield _step("Reshape", [product], wide)
    ordered = [*shared, *lefts, *rights]
    permutation = [ordered.index(c) for c in result_labels]
    yield _step("Transpose", [wide], operation.results[0], perm=permutation)


def _matrices(  # noqa: PLR0913, PLR0917 - what a term needs
    operation: Operation,
    side: str,
    operand: Operand,
    labels: str,
    groups: list[list[str]],
    sizes: Mapping[str, int],
):  # type: ignore[no-untyped-def]
    permutation = [labels.index(c) for group in groups for c in group]
    shape = [int(np.prod([sizes[c] for c in group])) for group in groups]
    if isinstance(operand, Constant):
        if groups[0]:
            raise ExportError(f"'{operation.name}' multiplies each of a batch by its own constant.")
        values = operand.values.transpose(permutation).reshape(shape[1:])
        return replace_values(operand, values)
    moved = _inner(operation, f"{side}_moved", [operand.shape[p] for p in permutation])
    yield _step("Transpose", [operand], moved, perm=permutation)
    matrix = _inner(operation, side, shape)
    yield _step("Reshape", [moved], matrix)
    return matrix


def replace_values(constant: Constant, values: Array) -> Constant:
    """The same numbers in another shape."""
    return Constant(name=constant.name, values=values)


def _one_group_each(operation: Operation) -> Iterator[Operation]:
    """Groups of a transposed convolution, each on its own channels, joined again."""
    groups = int(cast(int, operation.attributes.get("group", 1)))
    if groups == 1:
        yield operation
        return
    source, weight, *rest = operation.operands
    result = operation.results[0]
    assert isinstance(source, Value)
    assert isinstance(weight, Constant)
    inputs, outputs = source.shape[1] // groups, result.shape[1] // groups
    pieces = [
        replace(
            source,
            name=f"{result.name}/in{g}",
            shape=(source.shape[0], inputs, *source.shape[2:]),
            grids=(),
        )
        for g in range(groups)
    ]
    yield Operation(
        kind="Split",
        name=operation.name,
        operands=(source,),
        results=tuple(pieces),
        attributes={"axis": 1},
    )
    parts = []
    for g, piece in enumerate(pieces):
        part = _inner(operation, f"out{g}", (result.shape[0], outputs, *result.shape[2:]))
        bias = [
            _part_of(cast(Constant, b), g, groups, axis=0, shared=False)
            for b in rest
            if b is not None
        ]
        filters = _part_of(weight, g, groups, axis=0, shared=True)
        yield replace(
            operation,
            operands=(piece, filters, *bias),
            results=(part,),
            attributes={**operation.attributes, "group": 1},
        )
        parts.append(part)
    yield Operation(
        kind="Concat",
        name=f"{operation.name}/join",
        operands=tuple(parts),
        results=(result,),
        attributes={"axis": 1},
    )


def _part_of(constant: Constant, group: int, groups: int, *, axis: int, shared: bool) -> Constant:
    """The part of a constant that belongs to a group; ``shared``: its scales lie on another axis."""
    cut = [
        np.array_split(v, groups, axis)[group]
        for v in (constant.values, constant.integers)
        if v is not None
    ]
    many = len(constant.scales) > 1
    own = many and not shared
    return Constant(
        name=f"{constant.name}/{group}",
        values=cut[0],
        integers=cut[1] if len(cut) > 1 else None,
        scales=np.array_split(constant.scales, groups)[group] if own else constant.scales,
        zero_points=np.array_split(constant.zero_points, groups)[group]
        if own
        else constant.zero_points,
        axis=constant.axis,
    )


def _power(operation: Operation) -> Iterator[Operation]:
    source, exponent = operation.operands
    if isinstance(exponent, Constant) and exponent.values.size == 1:
        power = float(exponent.values.item())
        if power == 2.0:
            yield replace(operation, kind="Mul", operands=(source, source), attributes={})
            return
        if power == 0.5:
            yield replace(operation, kind="Sqrt", operands=(source,), attributes={})
            return
    yield operation


def _reciprocal(operation: Operation) -> Iterator[Operation]:
    yield replace(operation, kind="Div", operands=(_number("one", 1.0), operation.operands[0]))


def _l2(operation: Operation) -> Iterator[Operation]:
    source = operation.operands[0]
    assert isinstance(source, Value)
    square = _inner(operation, "square", source.shape)
    total = _inner(operation, "sum", operation.results[0].shape)
    yield _step("Mul", [source, source], square)
    yield replace(
        operation,
        kind="ReduceSum",
        operands=(square, *operation.operands[1:]),
        results=(total,),
    )
    yield _step("Sqrt", [total], operation.results[0])


def _softplus(operation: Operation) -> Iterator[Operation]:
    """``log(1 + exp(-|x|)) + max(x, 0)``, which never overflows."""
    source = operation.operands[0]
    assert isinstance(source, Value)
    names = ("absolute", "negative", "exponential", "one_more", "logarithm", "positive")
    absolute, negative, exponential, one_more, logarithm, positive = (
        _inner(operation, name, source.shape) for name in names
    )
    yield _step("Abs", [source], absolute)
    yield _step("Neg", [absolute], negative)
    yield _step("Exp", [negative], exponential)
    yield _step("Add", [exponential, _number("one", 1.0)], one_more)
    yield _step("Log", [one_more], logarithm)
    yield _step("Relu", [source], positive)
    yield _step("Add", [logarithm, positive], operation.results[0])


def _with_biases(network: Network) -> Network:
    """A sum right behind a product of matrices becomes its third operand, as in ``Gemm``."""
    made_by = {r.name: o for o in network.operations for r in o.results}
    counts: dict[str, int] = {}
    for operation in network.operations:
        for operand in operation.operands:
            if isinstance(operand, Value):
                counts[operand.name] = counts.get(operand.name, 0) + 1
    for value in network.outputs.values():
        counts[value.name] = counts.get(value.name, 0) + 1
    operations: list[Operation] = []
    for operation in network.operations:
        product = _product_before(operation, made_by, counts)
        biases = [o for o in operation.operands if isinstance(o, Constant)]
        if product is None:
            operations.append(operation)
            continue
        operations.remove(product)
        operands = (*product.operands, biases[0])
        operations.append(replace(product, operands=operands, results=operation.results))
    return replace(network, operations=tuple(operations))


def _product_before(
    operation: Operation, made_by: Mapping[str, Operation], counts: Mapping[str, int]
) -> Operation | None:
    values = [o for o in operation.operands if isinstance(o, Value)]
    if operation.kind != "Add" or len(values) != 1 or values[0].grids:
        return None
    product, bias = (
        made_by.get(values[0].name),
        next(o for o in operation.operands if isinstance(o, Constant)),
    )
    if product is None or product.kind != "MatMul" or counts[values[0].name] != 1:
        return None
    weight = product.operands[1]
    plain = isinstance(weight, Constant) and weight.values.ndim == 2 and len(product.operands) == 2
    return product if plain and bias.values.size == cast(Constant, weight).shape[1] else None


def _with_gelu(network: Network) -> Network:
    """The four or five operations that ``GELU`` is exported as become one."""
    made_by = {r.name: o for o in network.operations for r in o.results}
    replaced: dict[str, Operation] = {}
    for operation in network.operations:
        source = _gelu_source(operation, made_by)
        if source is not None:
            replaced[operation.results[0].name] = replace(
                operation, kind="Gelu", operands=(source,), attributes={}
            )
    if not replaced:
        return network
    operations = [
        replaced.get(o.results[0].name, o) if o.results else o for o in network.operations
    ]
    return replace(network, operations=tuple(_read_ones(operations, network)))


def _read_ones(operations: list[Operation], network: Network) -> list[Operation]:
    read = {value.name for value in network.outputs.values()}
    kept = []
    for operation in reversed(operations):
        if any(result.name in read for result in operation.results):
            kept.append(operation)
            read |= {o.name for o in operation.operands if isinstance(o, Value)}
    return kept[::-1]


def _gelu_source(operation: Operation, made_by: Mapping[str, Operation]) -> Value | None:
    """``x`` of ``x · 0.5 · (1 + erf(x / √2))``, multiplied in any order."""
    if operation.kind != "Mul":
        return None
    factors = _factors(operation, made_by)
    halves = [f for f in factors if _is_number(f, 0.5)]
    ones = [
        s for f in factors if isinstance(f, Value) and (s := _erf_source(f, made_by)) is not None
    ]
    values = [f for f in factors if isinstance(f, Value) and _erf_source(f, made_by) is None]
    if len(factors) != 3 or not (len(halves) == len(ones) == len(values) == 1):
        return None
    return values[0] if ones[0] == values[0] else None


def _factors(operation: Operation, made_by: Mapping[str, Operation]) -> list[Operand]:
    found: list[Operand] = []
    for operand in operation.operands:
        inner = made_by.get(operand.name) if isinstance(operand, Value) else None
        if inner is not None and inner.kind == "Mul" and not cast(Value, operand).grids:
            found += [o for o in inner.operands if o is not None]
        elif operand is not None:
            found.append(operand)
    return found


def _erf_source(value: Value, made_by: Mapping[str, Operation]) -> Value | None:
    """``x`` of ``1 + erf(x / √2)``."""
    added = made_by.get(value.name)
    if value.grids or added is None or added.kind != "Add":
        return None
    inner = [made_by.get(o.name) for o in added.operands if isinstance(o, Value)]
    if len(inner) != 1 or inner[0] is None or inner[0].kind != "Erf":
        return None
    if not any(_is_number(o, 1.0) for o in added.operands):
        return None
    scaled = made_by.get(cast(Value, inner[0].operands[0]).name)
    if scaled is None or scaled.kind not in {"Div", "Mul"}:
        return None
    by = np.sqrt(2.0) if scaled.kind == "Div" else np.sqrt(0.5)
    source = [o for o in scaled.operands if isinstance(o, Value)]
    fits = any(_is_number(o, float(by)) for o in scaled.operands)
    return source[0] if len(source) == 1 and fits else None


def _is_number(operand: Operand | None, number: float) -> bool:
    if not isinstance(operand, Constant) or operand.values.size != 1:
        return False
    return bool(abs(float(operand.values.item()) - number) < 1e-5)


def _quotient(operation: Operation) -> Iterator[Operation]:
    """By a constant: a product with its inverse."""
    source, divisor = operation.operands
    if isinstance(source, Value) and isinstance(divisor, Constant):
        inverse = _number(f"{divisor.name}/inverse", 1.0 / divisor.values.astype(np.float64))
        for step in _with_constant(replace(operation, kind="Mul", operands=(source, inverse))):
            yield step
    else:
        yield operation


def _with_constant(operation: Operation) -> Iterator[Operation]:
    """A sum, difference or product with a constant for each channel, as one line for each."""
    left, right = operation.operands
    value, constant = (left, right) if isinstance(right, Constant) else (right, left)
    if not isinstance(value, Value) or not isinstance(constant, Constant):
        yield operation
        return
    line = _line_of(operation, value, constant)
    yield operation if line is None else line


def _line_of(operation: Operation, value: Value, constant: Constant) -> Operation | None:
    wide = (
        constant.values.reshape(
            (1,) * (len(value.shape) - constant.values.ndim) + constant.values.shape
        )
        if constant.values.ndim <= len(value.shape)
        else constant.values
    )
    axes = [axis for axis, size in enumerate(wide.shape) if size != 1]
    if len(axes) != 1 or tuple(value.shape) != tuple(operation.results[0].shape):
        return None
    numbers, ones = wide.ravel().astype(np.float64), np.ones(wide.size)
    factor, offset = {
        "Mul": (numbers, 0 * ones),
        "Add": (ones, numbers),
        "Sub": (ones, -numbers) if operation.operands[0] is value else (-ones, numbers),
    }[operation.kind]
    return replace(_affine(operation, value, factor, offset), attributes={"axis": axes[0]})


_RULES: Mapping[str, Callable[[Operation], Iterator[Operation]]] = {
    "Add": _with_constant,
    "BatchNormalization": _batch_norm,
    "ConvTranspose": _one_group_each,
    "Div": _quotient,
    "Einsum": _einsum,
    "HardSigmoid": _hard_sigmoid,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "Mul": _with_constant,
    "Pow": _power,
    "Reciprocal": _reciprocal,
    "ReduceL2": _l2,
    "Softplus": _softplus,
    "Sub": _with_constant,
}
