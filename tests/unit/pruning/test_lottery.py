"""Rounds of training, rewinding and pruning; tickets as values and files."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.unit.pruning.masked_networks import convolutional, linear, same, state, tied
from torchedge.errors import ArtifactError, OutputExistsError, PruningError
from torchedge.pruning import (
    NOfM,
    Ticket,
    Unstructured,
    bake_masks,
    lottery_tickets,
    mask_weights,
    masks_of,
    randomly_masked,
    reinitialised,
    weight_masks,
)
from torchedge.pruning.functional import smallest_mask
from torchedge.pruning.tickets import load_weights, plain_weights

X = torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(8) % 3


def fit(network, steps=3):
    optimizer = torch.optim.SGD(network.train().parameters(), 0.1, momentum=0.9)
    for _ in range(steps):
        order = torch.randperm(8)  # so that the seed matters
        optimizer.zero_grad()
        F.cross_entropy(network(X[order[:6]]), LABELS[order[:6]]).backward()
        optimizer.step()


def search(model=None, *, share=0.2, rounds=3, rewind_to=None, **options):
    model = linear() if model is None else model
    return lottery_tickets(
        model,
        fit,
        sparsity_per_round=share,
        rounds=rounds,
        rewind_to=model.state_dict() if rewind_to is None else rewind_to,
        **options,
    )


def removed(network):
    return sum(int((~mask).sum()) for mask in masks_of(network).values())


def test_each_round_takes_its_share_of_what_is_left_and_the_first_nothing():
    total = 16 * 36 + 12 * 16
    expected = [int(total * (1 - 0.8**k) + 1e-9) for k in range(4)]
    assert [removed(network) for network in search()] == expected


def test_a_round_is_what_doing_it_by_hand_gives():
    net = linear(seed=3)
    found = list(search(net, share=0.5, rounds=1, seed=7))
    torch.manual_seed(7)
    dense = copy.deepcopy(net)
    fit(dense)
    weights = torch.cat([dense[i].weight.detach().abs().flatten() for i in (1, 3)])
    first, second = smallest_mask(weights, 0.5).split([16 * 36, 12 * 16])
    masks = {"1.weight": first.view(16, 36), "3.weight": second.view(12, 16)}
    by_hand = mask_weights(net, masks)  # the weights are those of the beginning
    torch.manual_seed(7)
    fit(by_hand)
    assert torch.equal(found[0](X), dense(X))
    assert same(masks_of(found[1]), masks)
    assert torch.equal(found[1](X), by_hand(X))


def test_survivors_go_back_to_the_weights_of_an_early_step_batch_norms_too():
    net = convolutional()
    early = copy.deepcopy(net)
    fit(early, steps=2)
    began = []

    def watching(network):
        began.append(plain_weights(network))
        fit(network)

    list(
        lottery_tickets(
            net, watching, sparsity_per_round=0.2, rounds=2, rewind_to=early.state_dict()
        )
    )
    assert len(began) == 3
    assert all(same(weights, state(early)) for weights in began)
    assert int(began[2]["1.num_batches_tracked"]) == 2


def test_a_search_is_repeated_and_the_beginning_of_a_longer_one():
    short, long = list(search(rounds=1)), list(search(rounds=3))
    for one, other in zip(short, long, strict=False):
        assert same(state(one), state(other))
    assert not same(state(short[1]), state(list(search(rounds=1, seed=1))[1]))


def test_the_callers_random_numbers_are_left_alone():
    net = linear()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(search(net, rounds=1))
    assert torch.equal(torch.rand(3), expected)


def test_what_the_caller_does_to_a_network_does_not_change_the_next_round():
    disturbed = []
    for network in search():
        disturbed.append(removed(network))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
    assert disturbed == [removed(network) for network in search()]
    assert disturbed[-1] > 0


def test_the_model_is_untouched():
    net = linear()
    before = state(net)
    list(search(net))
    assert same(state(net), before)
    assert type(net[1]) is nn.Linear


def test_rounds_go_on_from_masks_and_follow_a_pattern():
    net = linear()
    masks = weight_masks(net, 0.5, last_layer=True)
    found = list(search(net, masks=masks, share=0.2, rounds=1))
    total = 16 * 36 + 12 * 16 + 36
    assert removed(found[1]) == int(total * 0.6 + 1e-9)
    masks = weight_masks(net, 0, pattern=NOfM(2, 4))
    last = list(search(net, masks=masks, share=0.5, rounds=1, pattern=NOfM(2, 4)))[-1]
    assert bool((masks_of(last)["3.weight"].view(-1, 4).sum(1) == 2).all())


def test_a_ticket_is_the_masks_of_a_round_and_the_weights_to_begin_with():
    net = linear()
    last = list(search(net))[-1]
    ticket = Ticket.of(last, net.state_dict())
    network = ticket.network(linear(seed=9))
    assert same(plain_weights(network), state(net))
    assert same(masks_of(network), masks_of(last))
    assert ticket.kept_share == 394 / 768  # 768 - floor(0.488 · 768)
    torch.manual_seed(0)
    fit(network)
    assert same(state(network), state(last))


def test_the_control_for_the_weights_has_the_masks_and_fresh_weights():
    net, fresh = linear(), linear(seed=9)
    ticket = Ticket.of(list(search(net))[-1], net.state_dict())
    control = reinitialised(ticket, fresh)
    assert same(control.masks, ticket.masks)
    assert same(control.weights, state(fresh))


def test_the_control_for_the_masks_has_as_many_weights_of_each_layer_at_other_places():
    net = linear()
    ticket = Ticket.of(list(search(net))[-1], net.state_dict())
    control = randomly_masked(ticket, seed=3)
    for name, mask in ticket.masks.items():
        assert int(control.masks[name].sum()) == int(mask.sum())
        assert not torch.equal(control.masks[name], mask)
    assert same(control.weights, ticket.weights)
    assert same(randomly_masked(ticket, seed=3).masks, control.masks)
    assert not same(randomly_masked(ticket, seed=4).masks, control.masks)


def test_a_ticket_is_saved_and_loaded_without_pickle(tmp_path):
    net = convolutional()
    ticket = Ticket.of(list(search(net, rounds=1))[-1], net.state_dict())
    artifact = ticket.save(tmp_path / "ticket")
    loaded = Ticket.open(tmp_path / "ticket")
    assert same(loaded.masks, ticket.masks)
    assert same(loaded.weights, ticket.weights)
    assert artifact.path == tmp_path / "ticket"
    assert {file.suffix for file in artifact.path.iterdir()} == {".safetensors", ".json"}


def test_a_damaged_ticket_is_refused(tmp_path):
    net = linear()
    Ticket.of(mask_weights(net, weight_masks(net, 0.5)), net.state_dict()).save(tmp_path / "t")
    with pytest.raises(OutputExistsError):
        Ticket.of(mask_weights(net, weight_masks(net, 0.5)), net.state_dict()).save(tmp_path / "t")
    file = tmp_path / "t" / "ticket.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match=r"ticket\.safetensors"):
        Ticket.open(tmp_path / "t")


def test_another_artefact_is_no_ticket(save_model):
    with pytest.raises(ArtifactError, match="holds torch, no lottery ticket"):
        Ticket.open(save_model().path)


def test_plain_weights_of_a_masked_network_go_into_one_without_masks():
    net = mask_weights(linear(), weight_masks(linear(), 0.5))
    other = linear(seed=9)
    load_weights(other, plain_weights(net))
    assert same(state(other), state(linear()))


def refused(message, attempt):
    with pytest.raises(PruningError, match=message) as caught:
        attempt()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 1.0}, r"not in \[0, 1\)"),
        ({"share": -0.2}, r"not in \[0, 1\)"),
        ({"rounds": -1}, "rounds is -1"),
        ({"rewind_to": convolutional().state_dict()}, "the weights are for another network"),
        ({"rewind_to": linear(hidden=20).state_dict()}, r"has the shape \(16, 36\) here and \(20"),
        ({"rewind_to": {}}, r"they lack 6 of 6, '1\.weight' for one"),
        ({"masks": {"7.weight": torch.ones(1)}}, "the masks are for another network"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_first_round(options, message):
    refused(message, lambda: search(**options))


def test_a_round_that_would_empty_a_layer_is_refused_and_a_floor_helps():
    net = linear()
    with torch.no_grad():
        net[3].weight.mul_(1e-4)
    refused(r"would remove all 192 weights of '3\.weight'", lambda: list(search(net, share=0.8)))
    kept = list(search(net, share=0.5, pattern=Unstructured(least_kept=0.05)))
    assert int(masks_of(kept[-1])["3.weight"].sum()) >= 10


def test_tickets_for_another_network_are_refused():
    net = linear()
    ticket = Ticket.of(mask_weights(net, weight_masks(net, 0.5)), net.state_dict())
    refused("for another network", lambda: ticket.network(convolutional()))
    refused("for another network", lambda: reinitialised(ticket, convolutional()))
    refused("has no masks", lambda: Ticket.of(bake_masks(ticket.network(net)), net.state_dict()))


def test_a_ticket_of_a_network_that_shares_a_weight_is_saved(tmp_path):
    net = tied()
    ticket = Ticket(
        masks={"1.weight": torch.ones(4, 4, dtype=torch.bool)}, weights=net.state_dict()
    )
    ticket.save(tmp_path / "ticket")
    assert same(dict(Ticket.open(tmp_path / "ticket").weights), dict(net.state_dict()))
