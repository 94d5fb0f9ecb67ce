"""The graph of an ONNX file from elsewhere in the form that the targets' steps read."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchedge.errors import ArtifactError, ExportError, UsageError
from torchedge.writing import temporary_folder
from torchedge_onnx.old_resizes import hold_old_resizes, write_held_resizes
from torchedge_onnx.session import open_model, session_options

if TYPE_CHECKING:
    import onnx

__all__ = ["OPSET", "at_opset", "normal_form", "plain_form"]

OPSET = 18
_IR_VERSION = 8  # of opset 18
_FIRST_WITHOUT_LISTS = 4  # the IR whose constants need not be listed as inputs


def plain_form(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """The file with its local functions inlined and no constant listed as an input."""
    from onnx import inliner

    from torchedge_onnx.graph import copied, real_inputs

    if model.functions:
        copy = inliner.inline_local_functions(model, convert_version=True)
    else:
        copy = copied(model)
    given = real_inputs(copy)
    if len(given) < len(copy.graph.input):
        kept = [value.SerializeToString() for value in given]
        del copy.graph.input[:]
        for data in kept:
            copy.graph.input.add().ParseFromString(data)
    copy.ir_version = max(copy.ir_version, _FIRST_WITHOUT_LISTS)
    used = {node.domain for node in copy.graph.node}
    for unused in [o for o in copy.opset_import if o.domain not in {"", "ai.onnx", *used}]:
        copy.opset_import.remove(unused)
    return copy


def normal_form(path: Path, model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Opset 18, names of our own, constants and batch norms folded, every node with a name.

    Args:
        path: For texts.
        model: Of :func:`plain_form`, with fixed sizes.

    Raises:
        ExportError: It cannot be written at opset 18, or its sizes cannot be inferred.
        UsageError: An output does not depend on the inputs.
        ArtifactError: ONNX Runtime cannot read it.
    """
    import onnx

    from torchedge_onnx import integer_forms, rewrites

    lifted = _own_outputs(at_opset(path, model, OPSET))
    model = rewrites.without_metadata(_named(_twice_folded(path, lifted)))
    _require_computed(path, model)
    model = integer_forms.fold_padding(rewrites.mean_to_global_pool(model))
    try:
        return onnx.shape_inference.infer_shapes(model)
    except Exception as error:  # it raises what its C++ raises
        raise ExportError(
            f"the sizes inside '{path}' cannot be inferred ({_first_line(error)}); export the "
            "network with fixed sizes."
        ) from error


def at_opset(path: Path, model: "onnx.ModelProto", opset: int) -> "onnx.ModelProto":
    """The graph at another opset, with the same numbers.

    ``Resize`` and ``Upsample`` of before opset 11 sample where they did, which the converter loses.
    Operators that are newer are written as ONNX defines them, where it does so by older ones.

    Raises:
        ExportError: It has no form there that is known here.
    """
    import onnx

    from torchedge_onnx.graph import opset_of

    found = opset_of(model)
    if found == opset:
        return model
    spelled = _spelled_out(model, opset)
    if newer := _unknown_at(spelled, opset):
        raise ExportError(
            f"'{path}' is of opset {found} and has {newer[0]}, which opset {opset} does not know; "
            f"export the network at opset {opset}."
        )
    if found > opset and _has_schemas(spelled, opset):
        return _relabelled(spelled, opset)
    try:
        lifted = onnx.version_converter.convert_version(hold_old_resizes(spelled), opset)
    except Exception as error:  # it raises what its C++ raises
        raise ExportError(
            f"'{path}' is of opset {found} and cannot be written at {opset} "
            f"({_first_line(error)}); export the network at opset {opset}."
        ) from error
    return write_held_resizes(lifted)


def _spelled_out(model: "onnx.ModelProto", opset: int) -> "onnx.ModelProto":
    """Operators that came after an opset as the functions that ONNX defines them by."""
    from onnx import inliner

    newer = [("", name) for name in _unknown_at(model, opset)]
    if not newer:
        return model
    try:
        return inliner.inline_selected_functions(model, newer, inline_schema_functions=True)
    except Exception:  # it raises what its C++ raises; the operators are refused by name then
        return model


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _unknown_at(model: "onnx.ModelProto", opset: int) -> list[str]:
    """Operators that came later."""
    import onnx

    last = onnx.defs.onnx_opset_version()
    names = sorted({node.op_type for node in model.graph.node})
    known = [name for name in names if onnx.defs.has(name, last, "")]
    return [name for name in known if not onnx.defs.has(name, opset, "")]


def _has_schemas(model: "onnx.ModelProto", opset: int) -> bool:
    """Whether every operator could be written like this at an older opset.

    What it means there is left to the comparison of answers.
    """
    import onnx

    for node in model.graph.node:
        schema = onnx.defs.get_schema(node.op_type, opset, "")
        known = {found.name for found in node.attribute} <= set(schema.attributes)
        if not known or len(node.input) > schema.max_input or len(node.output) > schema.max_output:
            return False
    return True


def _relabelled(model: "onnx.ModelProto", opset: int) -> "onnx.ModelProto":
    from onnx import helper

    from torchedge_onnx.graph import copied

    copy = copied(model)
    del copy.opset_import[:]
    copy.opset_import.append(helper.make_opsetid("", opset))
    copy.ir_version = _IR_VERSION
    return copy


def _own_outputs(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """A copy in which no output is an input or a constant as it came: each gets a node."""
    from onnx import helper

    from torchedge_onnx.graph import constants, copied

    copy = copied(model)
    taken = {value.name for value in copy.graph.input} | constants(copy).keys()
    for index, output in enumerate(copy.graph.output):
        if output.name in taken:
            own = f"{output.name}.output.{index}"
            copy.graph.node.append(helper.make_node("Identity", [output.name], [own]))
            output.name = own
        taken.add(output.name)
    return copy


def _require_computed(path: Path, model: "onnx.ModelProto") -> None:
    from torchedge_onnx.graph import producers, real_inputs

    made_by, inputs = producers(model), {value.name for value in real_inputs(model)}
    for index, output in enumerate(model.graph.output):
        waiting, seen = [output.name], set[str]()
        while waiting:
            name = waiting.pop()
            seen.add(name)
            node = made_by.get(name)
            waiting += [] if node is None else [n for n in node.input if n not in seen]
        if not seen & inputs:
            raise UsageError(
                f"output {index} of '{path}' is the same whatever the inputs are; export the "
                "network without it."
            )


def _twice_folded(path: Path, model: "onnx.ModelProto") -> "onnx.ModelProto":
    """ONNX Runtime folds batch norms before constants: one may read a constant just computed."""
    try:
        return _folded(_folded(model))
    except ArtifactError as error:
        raise ExportError(
            f"'{path}' was written at opset {OPSET}, and ONNX Runtime cannot read that ({error}); "
            f"export the network at opset {OPSET}."
        ) from error


def _folded(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """By ONNX Runtime's basic optimisations, which keep to ONNX's own operators."""
    import onnx
    import onnxruntime

    options = session_options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with temporary_folder("onnx") as folder:
        source, written = folder / "source.onnx", folder / "folded.onnx"
        source.write_bytes(model.SerializeToString())
        options.optimized_model_filepath = str(written)
        open_model(source, options)
        folded = onnx.load(written)
    for extra in [o for o in folded.opset_import if o.domain not in {"", "ai.onnx"}]:
        folded.opset_import.remove(extra)
    del folded.functions[:]
    return folded


def _named(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Inputs and outputs have the names of this package's files, and every node has one."""
    from torchedge_onnx.graph import real_inputs, rename_values

    new = {value.name: f"input_{i}" for i, value in enumerate(real_inputs(model))}
    new |= {value.name: f"output_{i}" for i, value in enumerate(model.graph.output)}
    rename_values(model, new)
    for index, node in enumerate(model.graph.node):
        node.name = f"{index}_{node.name or node.op_type}"
    return model
