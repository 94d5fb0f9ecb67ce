"""The list of operators follows from torch's schemas, and holds what networks need."""

import pytest
import torch

from torchedge.reading.operators import is_tensor_operator

_NEEDED = """add.Tensor add_.Tensor batch_norm.default bmm.default cat.default chunk.default
clone.default conv2d.default conv2d.padding conv_transpose2d.input copy_.default detach_.default
div.Tensor_mode dropout.default einsum.default embedding.default expand.default fill_.Scalar
gelu.default group_norm.default gru.input hardswish_.default index.Tensor layer_norm.default
lift_fresh_copy.default linear.default lstm.input masked_fill.Scalar max_pool2d.default mean.dim
pad.default pixel_shuffle.default relu_.default reshape.default roll.default
scaled_dot_product_attention.default select.int slice.Tensor softmax.int split.Tensor
split_with_sizes.default to.dtype topk.default transpose.int unbind.int upsample_bilinear2d.vec
where.self zeros.default _assert_tensor_metadata.default"""
_REFUSED = """save.default from_file.default set_.source_Tensor resize_.default item.default
sym_size.int is_nonzero.default data.default requires_grad_.default record_stream.default
sparse_coo_tensor.size_and_values quantize_per_tensor.default _cudnn_rnn.default empty.memory_format
bernoulli_.Tensor normal_.default special_hermite_polynomial_h.default _foobar.default
convolution_backward.default _local_scalar_dense.default add.out mkldnn_convolution.default"""
NEEDED, REFUSED = _NEEDED.split(), _REFUSED.split()


@pytest.mark.parametrize("name", NEEDED)
def test_an_operator_that_networks_have_is_allowed(name):
    assert is_tensor_operator(f"torch.ops.aten.{name}")


@pytest.mark.parametrize("name", REFUSED)
def test_an_operator_that_is_more_than_tensor_arithmetic_is_not(name):
    assert not is_tensor_operator(f"torch.ops.aten.{name}")


@pytest.mark.parametrize(
    "target",
    [
        *("torch.os.system", "os.system", "torch.ops.aten.add", "builtins.eval", ""),
        *("torch.ops.torchedge.other.default", "torch.ops.aten.add.Tensor.__call__"),
        "torch.ops.higher_order.cond",
    ],
)
def test_another_function_is_not(target):
    assert not is_tensor_operator(target)


def allowed_schemas():
    for schema in torch._C._jit_get_all_schemas():
        name = f"torch.ops.{schema.name.replace('::', '.')}.{schema.overload_name or 'default'}"
        if is_tensor_operator(name):
            yield schema


def test_no_allowed_operator_takes_a_path_a_storage_a_stream_or_a_generator():
    found = list(allowed_schemas())
    assert len(found) > 900
    for schema in found:
        for argument in schema.arguments:
            kind = str(argument.type)
            assert not {"Storage", "Stream", "Generator"} & {kind}, schema
            assert "str" not in kind or argument.name not in {"filename", "path", "message"}, schema


def test_every_allowed_operator_returns_tensors_and_writes_into_its_first_argument_at_most():
    for schema in allowed_schemas():
        assert {str(r.type) for r in schema.returns} <= {"Tensor", "List[Tensor]"}, schema
        for argument in schema.arguments:
            written = argument.alias_info is not None and argument.alias_info.is_write
            assert not written or argument.name == "self", schema
