"""Supervised training of a backbone, against a plain loop; cut off and resumed to the same bytes."""

from dataclasses import asdict
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metashot.data import make_store
from metashot.errors import LearnerError, RecipeError, UnknownNameError
from metashot.functional import augmented
from metashot.seeding import generator, seeded
from metashot.training import Checkpoints, Classifier, Pretrained, pretrain, step_decay
from metashot.training.checkpoints import read_state, weights_bytes
from tests.toy_learners import TinyBackbone, tiny_backbone, toy_store
from tests.toy_training import CutAt, CutError

ADAM = partial(torch.optim.Adam, lr=0.01)
STORE = toy_store()
LABELS = torch.tensor(STORE.labels)
BATCH = 7
PER_EPOCH = -(-len(LABELS) // BATCH)


def train(folder: Path | None = None, *, cut: int | None = None, dropout: float = 0.0, **changes: Any) -> tuple[TinyBackbone, Pretrained]:
    backbone = tiny_backbone(dropout=dropout)
    arguments = {"epochs": 3, "batch": BATCH, "optimiser": ADAM, "augment": ["crop", "flip"], "seed": 4, "progress": CutAt(cut)} | changes
    checkpoints = Checkpoints(folder, {}) if folder else None
    return backbone, pretrain(backbone, STORE.fetch, LABELS, checkpoints=checkpoints, **arguments)


def fingerprint(backbone: nn.Module, state: Pretrained) -> tuple[str, str]:
    record = {key: value for key, value in asdict(state).items() if key != "seconds"}
    return sha256(weights_bytes(backbone)).hexdigest(), str(record)


def test_training_equals_a_plain_loop() -> None:
    backbone, state = train(augment=["flip"])
    twin = tiny_backbone().train()
    with seeded(4, "pretraining head"):
        head = nn.Linear(6, int(LABELS.max()) + 1)
    nn.init.zeros_(head.bias)
    optimiser = torch.optim.Adam([*twin.parameters(), *head.parameters()], lr=0.01)
    for epoch in range(3):
        order = torch.randperm(len(LABELS), generator=generator(4, "pretraining order", epoch))
        losses, right = [], 0
        for low in range(0, len(LABELS), BATCH):
            items = order[low : low + BATCH]
            x = augmented(STORE.fetch(items), ["flip"], seed=4, start=epoch * len(LABELS) + low)
            optimiser.zero_grad()
            logits = head(twin(x))
            entropies = nn.functional.cross_entropy(logits, LABELS[items], reduction="none")
            entropies.mean().backward()
            optimiser.step()
            losses += entropies.tolist()
            right += int((logits.argmax(1) == LABELS[items]).sum())
        row = state.history[epoch]
        assert row["step"] == PER_EPOCH * (epoch + 1)
        assert row["epoch"] == epoch + 1
        assert row["train_loss"] == pytest.approx(np.mean(losses), rel=1e-4)
        assert row["train_accuracy"] == right / len(LABELS)
    for name, tensor in twin.state_dict().items():
        torch.testing.assert_close(backbone.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)
    assert not backbone.training
    assert state.step == 3 * PER_EPOCH


def test_training_classifies_what_it_was_trained_on() -> None:
    _, state = train(epochs=12, augment=[])
    assert state.history[-1]["train_accuracy"] > state.history[0]["train_accuracy"] + 0.1
    assert state.history[-1]["train_loss"] < state.history[0]["train_loss"]


@pytest.mark.parametrize("cuts", [(PER_EPOCH,), (PER_EPOCH + 3,), (2, PER_EPOCH - 1, 2 * PER_EPOCH + 1)], ids=str)
def test_a_training_that_was_cut_off_ends_with_the_bytes_of_one_that_was_not(tmp_path: Path, cuts: tuple[int, ...]) -> None:
    arguments = {"dropout": 0.3, "schedule": step_decay(every=2, factor=0.1), "checkpoint_every": 2}
    whole = fingerprint(*train(None, **arguments))  # type: ignore[arg-type]
    for cut in cuts:
        with pytest.raises(CutError):
            train(tmp_path, cut=cut, **arguments)  # type: ignore[arg-type]
    assert fingerprint(*train(tmp_path, **arguments)) == whole  # type: ignore[arg-type]
    goes_on = CutAt(None)
    assert fingerprint(*train(tmp_path, progress=goes_on, **arguments)) == whole  # type: ignore[arg-type]
    assert goes_on.steps == []
    assert fingerprint(*train(None, dropout=0.3))[0] != whole[0]  # the schedule counts epochs and is felt


def test_checkpoints_lie_at_the_ends_of_epochs_and_between(tmp_path: Path) -> None:
    with pytest.raises(CutError):
        train(tmp_path, cut=PER_EPOCH + 4, checkpoint_every=PER_EPOCH + 2)
    assert [path.name for path in tmp_path.glob("[0-9]*")] == [str(PER_EPOCH + 2)]
    state = read_state(tmp_path / str(PER_EPOCH + 2))
    assert len(state["history"]) == 1
    assert state["pending_loss"] > 0


def test_the_global_generator_is_left_alone_and_changes_nothing() -> None:
    whole = fingerprint(*train(dropout=0.5))
    torch.rand(5)
    before = torch.get_rng_state()
    assert fingerprint(*train(dropout=0.5)) == whole
    assert torch.equal(torch.get_rng_state(), before)


def test_seeds_orders_and_augmentation_are_felt() -> None:
    digests = [
        fingerprint(*train(**changes))[0] for changes in ({}, {"seed": 5}, {"augment": []}, {"augment": ["flip", "crop"]}, {"batch": 8})
    ]
    assert len(set(digests)) == len(digests)


def test_a_cosine_classifier_is_a_weight_normalised_layer_on_unit_features_with_the_published_scale() -> None:
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    for outputs, scale in ((200, 2.0), (201, 10.0)):
        network = Classifier(tiny_backbone(), outputs=outputs, head="cosine").eval()
        layer = nn.utils.parametrizations.weight_norm(network.head)
        features = network.backbone(x)
        wanted = scale * layer(features / features.norm(dim=1, keepdim=True))
        torch.testing.assert_close(Classifier.forward(network, x), wanted)
    assert Classifier(tiny_backbone(), outputs=3, head="cosine", scale=7.0).scale == 7.0


def test_the_head_has_as_many_outputs_as_asked_and_its_bias_starts_at_zero() -> None:
    network = Classifier(tiny_backbone(), outputs=30)
    assert torch.equal(network.head.bias, torch.zeros(30))
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 30)
    assert fingerprint(*train(outputs=30))[0] != fingerprint(*train())[0]
    assert fingerprint(*train(outputs=int(LABELS.max()) + 1))[0] == fingerprint(*train())[0]


def test_bfloat16_keeps_weights_in_float32_and_comes_near() -> None:
    single, half = (train(augment=[], epochs=1, precision=precision)[0] for precision in ("float32", "bfloat16"))
    distances = []
    for name, weight in half.named_parameters():
        assert weight.dtype == torch.float32
        distances.append((weight - single.get_parameter(name)).abs().max().item())
    assert 0 < max(distances) < 0.2


def test_frozen_parameters_stay() -> None:
    backbone = tiny_backbone()
    backbone.convolution.weight.requires_grad_(False)
    before = {name: weight.clone() for name, weight in backbone.named_parameters()}
    pretrain(backbone, STORE.fetch, LABELS, epochs=1, batch=BATCH, optimiser=ADAM)
    moved = {name for name, weight in backbone.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == before.keys() - {"convolution.weight"}


class Raises(TinyBackbone):
    def forward(self, x: Tensor) -> Tensor:
        raise ZeroDivisionError("of theirs")


def test_what_cannot_be_trained_is_refused() -> None:
    go = partial(pretrain, fetch=STORE.fetch, labels=LABELS, epochs=1, batch=BATCH, optimiser=ADAM)
    with pytest.raises(RecipeError, match=r"pretrain.outputs = 2 cannot tell \d+ training classes apart"):
        go(tiny_backbone(), outputs=2)
    with pytest.raises(UnknownNameError, match="Unknown augmentation 'crops'"):
        go(tiny_backbone(), augment=["crops"])
    with pytest.raises(RecipeError, match="jitter those of 3 channels"):
        go(tiny_backbone(), augment=["jitter"])
    with pytest.raises(RecipeError, match="linear or cosine; got 'dot'"):
        go(tiny_backbone(), head="dot")  # type: ignore[arg-type]
    with pytest.raises(LearnerError, match="feature_shape"):
        go(nn.Flatten())
    with pytest.raises(LearnerError, match=r"failed at step 0: ZeroDivisionError: of theirs"):
        go(Raises())
    with pytest.raises(LearnerError, match=r"The loss of supervised training is nan at step [01]. Try a lower"):
        go(tiny_backbone(), optimiser=partial(torch.optim.SGD, lr=1e30))


def test_items_that_are_no_pictures_can_be_trained_on_unchanged() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 6))
    network.feature_shape = (6,)  # type: ignore[assignment]
    store = make_store(np.zeros((8, 1, 8, 8), np.uint8), np.arange(8) % 2, ("a", "b"))
    flat = partial(pretrain, network, lambda items: store.fetch(items).flatten(1), torch.tensor(store.labels), epochs=1, batch=4)
    assert flat(optimiser=ADAM).step == 2
    with pytest.raises(RecipeError, match=r"changes pictures.*\(64,\)"):
        flat(optimiser=ADAM, augment=["flip"])
