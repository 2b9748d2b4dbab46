import pytest
import torch

from metashot.errors import LearnerError
from metashot.learners import answered
from metashot.testing import Task, tiny_backbone
from metashot.testing.generators import generator_states
from tests.testing.specimens import NearestMean, WithBackbone


def test_an_episode_depends_on_seed_and_sizes_only() -> None:
    task = Task()
    one, same, other = task(3), task(3), task(4)
    torch.testing.assert_close(one.support.x, same.support.x, rtol=0, atol=0)
    assert one.support.seed == same.support.seed != other.support.seed
    assert not torch.equal(one.support.x, other.support.x)


@pytest.mark.parametrize("seed", [0, 1])
def test_an_episode_has_the_sizes_asked_for(seed: int) -> None:
    episode = Task(ways=3)(seed, shots=2, queries=6)
    assert (episode.ways, episode.support.x.shape, episode.query.x.shape) == (3, (6, 1, 8, 8), (18, 1, 8, 8))
    assert episode.support.y.bincount().tolist() == [2, 2, 2]
    assert episode.query.y.bincount().tolist() == [6, 6, 6]
    assert Task(ways=3)(seed, ways=4).ways == 4


def test_labels_are_sorted_in_some_episodes_only() -> None:
    assert [bool((Task()(seed).support.y.diff() >= 0).all()) for seed in range(4)] == [True, False, True, False]


def test_both_dtypes_give_the_same_episode() -> None:
    single, double = Task()(), Task(dtype=torch.float64)()
    torch.testing.assert_close(single.query.x, double.query.x.float(), rtol=0, atol=0)


def test_a_batch_stacks_the_episodes() -> None:
    batch = Task().batch([5, 2])
    torch.testing.assert_close(batch.support.x[1], Task()(2).support.x, rtol=0, atol=0)
    assert batch.support.seed.tolist() == [int(Task()(seed).support.seed) for seed in (5, 2)]
    assert (len(batch), batch.ways) == (2, 5)


def test_items_of_another_shape_are_drawn_alike() -> None:
    task = Task(item_shape=(3, 5, 7))
    assert task().query.x.shape == (20, 3, 5, 7)
    assert task.batch([0, 1]).support.x.shape == (2, 15, 3, 5, 7)
    assert {x.shape[1:] for x, _ in task.base()} == {(3, 5, 7)}


def test_base_batches_can_be_read_twice() -> None:
    first, second = ([x.sum().item() for x, _ in batches] for batches in [Task().base()] * 2)
    assert first == second


@pytest.mark.parametrize("learner", [NearestMean(), WithBackbone(tiny_backbone()).eval()], ids=["pixels", "random-features"])
def test_the_classes_can_be_told_apart_without_training(learner: NearestMean | WithBackbone) -> None:
    rates = []
    for seed in range(20):
        episode = Task()(seed)
        logits = answered(learner, episode.support, episode.query.x, episode.ways)
        rates.append((logits.argmax(1) == episode.query.y).double().mean())
    assert torch.stack(rates).mean() > 0.7


def test_the_backbone_depends_on_its_seed_only() -> None:
    first, second, other = tiny_backbone().state_dict(), tiny_backbone().state_dict(), tiny_backbone(seed=1).state_dict()
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=0, atol=0)
    assert not torch.equal(first["norm.running_mean"], other["norm.running_mean"])
    assert first["norm.running_mean"].abs().min() > 0


@pytest.mark.parametrize("item_shape", [(1, 8, 8), (3, 5, 7)])
def test_the_backbone_gives_features_of_its_shape(item_shape: tuple[int, int, int]) -> None:
    backbone = tiny_backbone(item_shape)
    assert backbone(torch.zeros(2, *item_shape)).shape == (2, *backbone.feature_shape)


def test_the_backbone_is_for_images() -> None:
    with pytest.raises(LearnerError, match=r"The tiny backbone needs items of shape \(channels, height, width\); got \(784,\)."):
        tiny_backbone((784,))


def test_toys_leave_the_global_generators_alone() -> None:
    before = generator_states()
    Task()(1)
    Task().base()
    tiny_backbone()
    assert generator_states() == before
