"""A tenth of ``python -m benchmarks.zoo``, the small ones, and what its verdicts mean."""

import json
from dataclasses import asdict

import pytest
import torch
from torch import nn

from benchmarks.unseen import child
from benchmarks.unseen.catalogue import NETWORKS, Entry
from benchmarks.unseen.child import Outcome, outcomes
from benchmarks.unseen.order import STAGES
from benchmarks.unseen.stages import Found
from benchmarks.unseen.subjects import settled, smooth, subject, tensors_of_answer
from benchmarks.zoo import main, read, run_network, shares
from torchedge.errors import TraceError, UnknownNameError, UsageError

# A range that clips is told of; random networks have such.
pytestmark = pytest.mark.filterwarnings("ignore:the range clips:UserWarning")

_EXPORTED = ("yolo_split_decoded", "unet_transposed", "encoder_stack")
_IN_PYTORCH = (
    *("ds_cnn", "ssd_heads", "decoder", "tcn", "signal_resnet", "gated_convolutions"),
    *("tiny_mixer", "patch_transformer", "text_convolutions"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", _EXPORTED)
def test_a_network_that_nothing_was_tuned_on_is_whole_through_every_stage(name, tmp_path):
    ended = {o.stage: (o.verdict, o.reason) for o in outcomes(name, tuple(STAGES), tmp_path)}
    assert ended == dict.fromkeys(STAGES, ("whole", ""))


@pytest.mark.slow
@pytest.mark.parametrize("name", _IN_PYTORCH)
def test_a_network_that_nothing_was_tuned_on_is_quantised_and_pruned(name, tmp_path):
    stages = ("prepare", "calibrate", "quantize", "prune")
    ended = {o.stage: (o.verdict, o.reason) for o in outcomes(name, stages, tmp_path)}
    assert ended == dict.fromkeys(stages, ("whole", ""))


def test_the_zoo_has_the_networks_and_the_families_that_it_promises():
    assert len(NETWORKS) >= 80
    assert len({entry.family for entry in NETWORKS.values()}) >= 60


def test_every_network_of_our_own_answers_and_tells_its_inputs_apart():
    for name, entry in NETWORKS.items():
        if not entry.needs:
            made = subject(entry)
            with torch.no_grad():
                answers = tensors_of_answer(made.model(made.unseen[:4]))
            assert all(answer.std(0).max() > 1e-3 for answer in answers), name


class _Zeros(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).mean((2, 3)))


def test_settling_fills_what_starts_at_zero_and_lets_norms_know_the_data():
    data = 5 + smooth((3, 8, 8))
    model = settled(_Zeros(), data)
    assert model.head.weight.abs().max() > 0.01
    assert 0.6 <= model.norm.weight.min() <= model.norm.weight.max() <= 1.4
    with torch.no_grad():
        found = model.norm(model.conv(data))
    torch.testing.assert_close(found.mean((0, 2, 3)), model.norm.bias.data, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.std((0, 2, 3)), model.norm.weight.data, atol=0, rtol=1e-3)


def test_tensors_are_found_in_tuples_and_by_name():
    one, two = torch.zeros(1), torch.ones(1)
    assert tensors_of_answer({"a": one, "b": [two, (one,)]}) == (one, two, one)


@pytest.fixture
def one_network(monkeypatch):
    def use(stage):
        entry = Entry(family="f", make=lambda: nn.Conv1d(3, 2, 1), shape=(3, 8))
        monkeypatch.setattr(child, "build", lambda name: entry)
        monkeypatch.setattr(child, "STAGES", {"prepare": stage, "quantize": stage})

    return use


def _raising(error):
    def stage(work):
        raise error

    return stage


@pytest.mark.parametrize(
    ("stage", "verdict", "reason"),
    [
        (lambda work: Found(), "whole", ""),
        (lambda work: Found(wrong=("twice as much",)), "wrong", "twice as much"),
        (lambda work: Found(unclean=("Q9",)), "unclean", "Q9"),
        (_raising(TraceError("no, because")), "refused", "TraceError: no, because"),
        (_raising(KeyError("to")), "raw", "KeyError: 'to' [benchmarks]"),
        (_raising(MemoryError()), "limit", "memory"),
    ],
)
def test_a_stage_ends_in_the_verdict_of_what_happened(
    stage, verdict, reason, one_network, tmp_path
):
    one_network(stage)
    (ended,) = outcomes("any", ("prepare",), tmp_path)
    assert (ended.verdict, ended.reason) == (verdict, reason)


def test_a_network_that_answers_with_infinities_itself_is_not_tried(one_network, tmp_path):
    one_network(lambda work: Found())
    entry = Entry(family="f", make=lambda: nn.Softplus(-1e-39), shape=(3, 8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "build", lambda name: entry)
        (ended,) = outcomes("any", ("prepare",), tmp_path)
    assert ended.verdict == "unbuilt"
    assert "infinities" in ended.reason


def test_a_stage_that_is_not_reached_ends_as_the_one_before_it(one_network, tmp_path):
    one_network(_raising(TraceError("no")))
    _, second = outcomes("any", ("prepare", "quantize"), tmp_path)
    assert (second.stage, second.verdict, second.reason) == ("quantize", "refused", "as in prepare")


@pytest.mark.slow
def test_a_process_that_is_killed_at_its_limit_is_reported_and_the_next_stage_is_tried(tmp_path):
    ended = run_network("ds_cnn", ("onnx", "prune"), tmp_path / "lines", cpu_s=1)
    assert [(o.stage, o.verdict) for o in ended] == [("onnx", "limit"), ("prune", "whole")]
    assert "it had 1 s" in ended[0].reason


def test_a_run_goes_on_where_the_last_one_ended(tmp_path, capsys):
    out = tmp_path / "zoo.jsonl"
    done = [Outcome(network="ds_cnn", stage=stage, verdict="whole") for stage in STAGES]
    out.write_text("".join(json.dumps(asdict(outcome)) + "\n" for outcome in done))
    main("ds_cnn", out=out)
    assert list(read(out).values()) == done
    assert json.loads(out.with_suffix(".json").read_text())["onnx"]["share_whole"] == 1
    assert "prune: 100.0% of 1" in capsys.readouterr().out


def test_networks_that_do_not_run_are_no_part_of_the_shares():
    rows = [
        Outcome(network="a", stage="onnx", verdict="whole"),
        Outcome(network="b", stage="onnx", verdict="refused", reason="no"),
        Outcome(network="c", stage="onnx", verdict="unbuilt", reason="timm is missing"),
    ]
    assert shares(rows)["onnx"] == {
        "networks": 2,
        "share_whole": 0.5,
        "ended": {"refused": 1, "whole": 1},
        "reasons": {"b": "refused: no"},
    }


def test_unknown_networks_and_stages_are_refused_before_anything_runs(tmp_path):
    with pytest.raises(UnknownNameError, match="no network 'resnet1000'"):
        main("resnet1000", out=tmp_path / "z.jsonl")
    with pytest.raises(UsageError, match="no stage"):
        main("ds_cnn", stages=("tflight",), out=tmp_path / "z.jsonl")
