import pytest
import torch

from torchedge.data import CLASSES, KeywordParts, Keywords, KeywordSet, keyword_parts
from torchedge.data.keywords import KEYWORDS, OTHER_WORDS, delayed, masked
from torchedge.data.spoken_keywords import SpokenKeywords
from torchedge.errors import DataError


def clips(count, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    features = scale * torch.randn(count, 40, 49, generator=generator) + torch.arange(40.0)[:, None]
    return KeywordSet(features=features, labels=torch.arange(count) % 12)


@pytest.fixture
def keywords():
    return Keywords(
        KeywordParts(train=clips(64), validation=clips(8, 1), test=clips(16, 2, scale=3.0)),
        batch_size=16,
    )


def test_there_are_ten_keywords_a_class_for_others_and_one_for_silence():
    assert len(KEYWORDS) == 10
    assert (*KEYWORDS, "unknown", "silence") == CLASSES
    assert not set(KEYWORDS) & set(OTHER_WORDS)


def test_every_part_is_normalised_by_the_training_part_alone(keywords):
    assert keywords.train.features.mean((0, 2)).abs().max() < 1e-4
    assert (keywords.train.features.std((0, 2)) - 1).abs().max() < 1e-4
    assert keywords.test.features.std() > 2.5


def test_what_the_manifest_says_undoes_the_normalisation(keywords):
    said = keywords.normalisation
    mean, deviation = torch.tensor(said.mean)[:, None], torch.tensor(said.deviation)[:, None]
    again = keywords.test.features * deviation + mean
    assert torch.allclose(again, clips(16, 2, scale=3.0).features, atol=1e-4)


def test_training_batches_are_whole_and_hold_every_clip_once(keywords):
    labels = [labels for _, labels in keywords.train_dataloader()]
    assert {len(part) for part in labels} == {16}
    assert torch.equal(torch.cat(labels).sort().values, keywords.train.labels.sort().values)


def test_training_is_watched_by_the_validation_part(keywords):
    ((features, _),) = list(keywords.val_dataloader())
    assert torch.equal(features, keywords.validation.features)


def test_clips_move_while_training_only(keywords):
    batch = keywords.test.features, keywords.test.labels
    features, labels = keywords.on_after_batch_transfer(batch, 0)  # there is no trainer
    assert features is batch[0]
    assert labels is batch[1]


def test_a_clip_moves_by_whole_frames_and_its_border_is_repeated():
    clip = torch.arange(49.0).expand(100, 40, 49)
    moved = delayed(clip, most_frames=3)
    assert {int(row) for row in moved[:, 0, 24]} == {21, 22, 23, 24, 25, 26, 27}
    for one in moved:
        shift = int(one[0, 24]) - 24
        assert one[7].tolist() == [min(max(f + shift, 0), 48) for f in range(49)]


def test_frames_in_a_row_are_masked_anywhere_and_the_others_stay():
    torch.manual_seed(0)
    clips = torch.rand(2000, 40, 49) + 1
    found = masked(clips, most_frames=8)
    hidden = found == 0
    assert torch.equal(found[~hidden], clips[~hidden])
    assert torch.equal(hidden.all(1), hidden.any(1))
    frames = hidden[:, 0]
    assert {*frames.sum(1).tolist()} == {*range(9)}
    assert frames.any(0).all()
    assert (frames.long().diff(dim=1) == 1).sum(1).max() == 1


def test_clips_are_moved_and_masked_while_training(keywords):
    class Trainer:
        training = True

    keywords.trainer = Trainer()
    batch = torch.ones(500, 40, 49), torch.zeros(500)
    features, labels = keywords.on_after_batch_transfer(batch, 0)
    keywords.trainer = None
    assert labels is batch[1]
    assert (features == 0).any(1).sum(1).max() == keywords.most_masked


def test_clips_are_moved_and_masked_on_the_device_where_they_are():
    clips = torch.zeros(4, 40, 49, device="meta")
    assert masked(delayed(clips, 3), 8).device.type == "meta"


@pytest.mark.parametrize(("count", "labels"), [(0, 0), (3, 2)])
def test_clips_without_labels_and_no_clips_are_refused(count, labels):
    with pytest.raises(DataError, match=f"{count} clips with {labels} labels"):
        KeywordSet(features=torch.zeros(count, 40, 49), labels=torch.zeros(labels))


def test_fewer_clips_than_a_batch_has_are_refused():
    few = KeywordParts(train=clips(15), validation=clips(8), test=clips(8))
    with pytest.raises(DataError, match="15 clips to train with, and a batch has 16"):
        Keywords(few, batch_size=16)


def test_a_folder_for_espeak_is_refused_and_so_is_none_for_speech_commands(tmp_path):
    with pytest.raises(DataError, match="eSpeak NG reads no folder"):
        keyword_parts("espeak", tmp_path, SpokenKeywords(), tmp_path)
    with pytest.raises(DataError, match="--data speech-commands FOLDER"):
        keyword_parts("speech-commands", None, SpokenKeywords(), tmp_path)
