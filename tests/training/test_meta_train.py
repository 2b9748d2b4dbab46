from typing import Any

import pytest
import torch
from torch import Tensor

from metashot.episodes import EpisodeBatch, EpisodeSampler, EpisodeSpec
from metashot.errors import LearnerError, RecipeError
from metashot.learners import Learner, ProtoNet
from metashot.training import Validation, meta_train, step_decay
from metashot.training.checkpoints import weights_bytes
from tests.toy_learners import Wrapped, tiny_backbone, toy_store
from tests.toy_training import CutAt, toy_validation, train

LOSSES = [0.5, 0.2, 0.4, 0.2, 0.3]  # the lowest at steps 8 and 16


class Keeps(CutAt):
    """Progress that keeps the loss of every step."""

    def __init__(self) -> None:
        super().__init__(None)
        self.losses: list[float] = []

    def stepped(self, step: int, loss: float) -> None:
        super().stepped(step, loss)
        self.losses.append(loss)


@pytest.mark.parametrize(("select", "best"), [("loss", 8), ("accuracy", 8), ("last", 20)])
def test_the_selected_weights_are_left_in_the_learner(select: str, best: int) -> None:
    learner, _, trained = train(None, select=select, validate=toy_validation(LOSSES))
    assert (trained.step, trained.best_step) == (20, best)
    assert not learner.training
    wanted, _, _ = train(None, select="last", steps=best, validate=None)
    assert weights_bytes(learner) == weights_bytes(wanted)


def test_accuracy_and_loss_may_select_differently() -> None:
    found = iter([Validation(0.5, 0.9), Validation(0.4, 0.8), Validation(0.6, 0.7)])
    assert train(None, steps=12, select="accuracy", validate=lambda learner: next(found))[2].best_step == 4
    found = iter([Validation(0.5, 0.9), Validation(0.4, 0.8), Validation(0.6, 0.7)])
    assert train(None, steps=12, select="loss", validate=lambda learner: next(found))[2].best_step == 8


def test_patience_stops_after_that_many_validations_without_a_better_one() -> None:
    losses = [0.5, 0.2, 0.4, 0.2, 0.1]
    assert train(None, patience=2, validate=toy_validation(losses))[2].step == 16
    assert train(None, patience=3, validate=toy_validation(losses))[2].step == 20


def test_a_run_that_lost_its_patience_does_not_go_on_when_resumed(tmp_path: Any) -> None:
    first = train(tmp_path, patience=2, validate=toy_validation(LOSSES))
    again = train(tmp_path, patience=2, validate=toy_validation([]))
    assert again[2] == first[2]
    assert weights_bytes(again[0]) == weights_bytes(first[0])


def test_the_history_has_a_row_for_each_validation_with_the_mean_training_loss_since_the_last() -> None:
    progress = Keeps()
    trained = train(None, steps=10, progress=progress, validate=toy_validation([0.5, 0.4, 0.3]))[2]
    assert [row["step"] for row in trained.history] == [4, 8, 10]
    for row, (low, high) in zip(trained.history, [(0, 4), (4, 8), (8, 10)], strict=True):
        assert row["train_loss"] == pytest.approx(sum(progress.losses[low:high]) / (high - low))
    assert [row["loss"] for row in trained.history] == [0.5, 0.4, 0.3]
    assert progress.rows == list(trained.history)
    assert trained.seconds > 0


def test_step_t_uses_its_own_episodes_the_schedule_and_the_step_buffer() -> None:
    store, seen = toy_store(), []

    class Records(ProtoNet):
        def meta_loss(self, batch: EpisodeBatch) -> Tensor:
            assert self.training
            seen.append((int(self.meta_step), batch.support.seed.tolist(), optimiser.param_groups[0]["lr"]))
            return super().meta_loss(batch)

    learner = Records(tiny_backbone())
    optimiser = torch.optim.SGD(learner.parameters(), lr=0.5)
    sampler = EpisodeSampler(store.labels, EpisodeSpec(3, 1, 2), seed=2)
    schedule = step_decay(every=2, factor=0.1)
    meta_train(learner, sampler, store.fetch, steps=3, optimiser=optimiser, schedule=schedule, meta_batch=4, micro_batch=2, select="last")
    seeds = sampler.plan(0, 12).seeds.tolist()
    assert seen == [(part // 2, seeds[2 * part : 2 * part + 2], 0.5 * schedule(part // 2)) for part in range(6)]


def test_micro_batches_take_the_steps_of_the_whole_meta_batch() -> None:
    """Up to rounding: one step of plain gradient descent, which does not magnify it as Adam does."""
    store, ends = toy_store(), []
    for micro_batch in (1, 2, None):
        learner = ProtoNet(tiny_backbone()).double()
        optimiser = torch.optim.SGD(learner.parameters(), lr=0.1)
        sampler = EpisodeSampler(store.labels, EpisodeSpec(3, 1, 2))
        meta_train(
            learner,
            sampler,
            lambda items: store.fetch(items).double(),
            steps=3,
            optimiser=optimiser,
            meta_batch=4,
            micro_batch=micro_batch,
            select="last",
        )
        ends.append(torch.cat([parameter.detach().flatten() for parameter in learner.parameters()]))
    torch.testing.assert_close(ends[0], ends[2], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ends[1], ends[2], rtol=1e-10, atol=1e-10)


def test_training_on_toy_episodes_learns() -> None:
    trained = train(None, steps=40, validate_every=10)[2]
    assert trained.history[-1]["train_loss"] < 0.8 * trained.history[0]["train_loss"]


def test_a_loss_that_is_not_finite_names_its_step() -> None:
    class Breaks(ProtoNet):
        def meta_loss(self, batch: EpisodeBatch) -> Tensor:
            return super().meta_loss(batch) * (float("nan") if int(self.meta_step) == 2 else 1.0)

    store, learner = toy_store(), Breaks(tiny_backbone())
    sampler = EpisodeSampler(store.labels, EpisodeSpec(3, 1, 2))
    with pytest.raises(LearnerError, match="meta_loss of Breaks at step 2: it must be a finite scalar and is nan"):
        meta_train(learner, sampler, store.fetch, steps=5, optimiser=torch.optim.Adam(learner.parameters()), select="last")


def test_a_meta_loss_that_raises_is_told_with_learner_and_step() -> None:
    class Raises(ProtoNet):
        def meta_loss(self, batch: EpisodeBatch) -> Tensor:
            if int(self.meta_step) == 2:
                raise ZeroDivisionError("no luck")
            return super().meta_loss(batch)

    store, learner = toy_store(), Raises(tiny_backbone())
    sampler = EpisodeSampler(store.labels, EpisodeSpec(3, 1, 2))
    with pytest.raises(LearnerError, match="meta_loss of Raises at step 2: ZeroDivisionError: no luck"):
        meta_train(learner, sampler, store.fetch, steps=5, optimiser=torch.optim.Adam(learner.parameters()), select="last")


def test_what_goes_wrong_inside_is_told_with_the_step() -> None:
    def fails(learner: Learner) -> Validation:
        raise LearnerError("On episode 3: no luck.")

    with pytest.raises(LearnerError, match=r"In the validation after step 4: On episode 3: no luck\."):
        train(None, validate=fails)
    store, learner = toy_store(), Wrapped(tiny_backbone())  # a backbone is no learner: its features are no predictor
    sampler = EpisodeSampler(store.labels, EpisodeSpec(3, 1, 2))
    optimiser = torch.optim.Adam(learner.parameters())
    with pytest.raises(LearnerError, match=r"meta_loss of Wrapped at step 0: .*has no attribute 'adapt'"):
        meta_train(learner, sampler, store.fetch, steps=5, optimiser=optimiser, select="last")


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_validation_by_which_nothing_can_be_selected_is_told(loss: float) -> None:
    with pytest.raises(LearnerError, match="validation of ProtoNet at step 4"):
        train(None, validate=toy_validation([loss]))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"meta_batch": 4, "micro_batch": 3}, "micro_batch must divide meta_batch; got 3 and 4"),
        ({"validate": None}, "need validation"),
        ({"validate": None, "patience": 2}, "need validation"),
        ({"select": "last", "patience": 2}, "patience needs select="),
    ],
)
def test_arguments_that_do_not_fit_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        train(None, **changes)
