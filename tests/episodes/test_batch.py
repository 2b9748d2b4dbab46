"""Examples know their seed with or without the leading axis."""

from dataclasses import FrozenInstanceError

import pytest
import torch

from metashot.episodes import EpisodeBatch, Examples


def test_the_default_seed_is_zero_for_one_episode_and_for_many() -> None:
    one = Examples(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64))
    many = Examples(torch.zeros(3, 4, 2), torch.zeros(3, 4, dtype=torch.int64))
    assert one.seed.shape == ()
    assert many.seed.tolist() == [0, 0, 0]
    assert one.seed.dtype == many.seed.dtype == torch.int64
    assert (len(one), len(many)) == (4, 3)


def test_an_episode_leaves_its_batch_and_comes_back() -> None:
    many = Examples(torch.randn(3, 4, 2), torch.randint(2, (3, 4)), torch.tensor([5, 6, 7]))
    one = many[1]
    assert torch.equal(one.x, many.x[1])
    assert torch.equal(one.y, many.y[1])
    assert int(one.seed) == 6
    again = one.of_one()
    assert again.x.shape == (1, 4, 2)
    assert again.y.shape == (1, 4)
    assert again.seed.tolist() == [6]


def test_examples_and_batches_are_frozen() -> None:
    examples = Examples(torch.zeros(1, 4, 2), torch.zeros(1, 4, dtype=torch.int64))
    batch = EpisodeBatch(examples, examples, torch.tensor([[3, 8]]))
    assert (len(batch), batch.ways) == (1, 2)
    with pytest.raises(FrozenInstanceError):
        examples.x = examples.x  # type: ignore[misc]  # what is tested
    with pytest.raises(FrozenInstanceError):
        batch.classes = batch.classes  # type: ignore[misc]  # likewise
