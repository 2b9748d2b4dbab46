"""FineTune: what is frozen keeps its bits, rates are those asked for, and the weights are those of a plain loop."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metashot import FineTune, generator
from metashot.episodes import Examples
from metashot.errors import LearnerError, UnknownNameError
from metashot.learners import FineTuned, group_of, layer_groups
from metashot.testing import tiny_backbone

ROW = Mapping[str, Tensor]


class Deep(nn.Module):
    """Three blocks with batch norm, one vector an item; float64, with running statistics of no batch."""

    feature_shape = (5,)

    def __init__(self) -> None:
        super().__init__()
        sizes = [(3, 4), (4, 4), (4, 5)]
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Linear(a, b), nn.BatchNorm1d(b), nn.Tanh()) for a, b in sizes))
        drawn = generator(3, "deep")
        with torch.no_grad():
            for name, value in self.double().state_dict().items():
                if value.is_floating_point():
                    value.copy_(torch.rand(value.shape, generator=drawn, dtype=torch.float64) + (0.5 if "var" in name else -0.3))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) -> (n, 5)."""
        features: Tensor = self.blocks(x)
        return features


GROUPS = (("blocks.1",), ("blocks.2",))  # and blocks.0, the rest


def support(ways: int = 3, shots: int = 4, seed: int = 5) -> Examples:
    x = torch.randn(ways * shots, 3, generator=generator(seed, "x"), dtype=torch.float64)
    return Examples(x, torch.arange(ways).repeat_interleave(shots), torch.tensor(seed))


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def moved(before: ROW, after: ROW) -> set[str]:
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def phases(learner: FineTune, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, dict[str, Tensor], dict[str, Tensor]]]:
    """Phase, and the network's state before and after it."""
    seen = []
    train = learner._train

    def watched(network: nn.Sequential, optimiser: Any, of: Examples, phase: int) -> Any:
        before = state(network)
        told = train(network, optimiser, of, phase)
        seen.append((phase, before, state(network)))
        return told

    monkeypatch.setattr(learner, "_train", watched)
    learner.adapt(support(), 3)
    return seen


# --- freezing


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("statistics", ["frozen", "moving"])
def test_each_phase_moves_its_groups_and_not_a_bit_of_the_others(optimiser: Any, statistics: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"optimiser": optimiser, "statistics": statistics, "weight_decay": 0.1, "batch_size": 5}
    learner = FineTune(Deep(), groups=GROUPS, unfreeze=(0, 1, 2, -1, 0), epochs=(2, 2, 2, 2, 2), **options)
    for phase, before, after in phases(learner, monkeypatch):
        first = 3 - (0, 1, 2, 3, 0)[phase]
        changed = moved(before, after)
        for name in before:
            trains = name.startswith("3.") or int(name.split(".")[2]) >= first
            is_statistic = "running" in name or "num_batches" in name
            assert (name in changed) == (trains and (not is_statistic or statistics == "moving")), (phase, name)


@pytest.mark.parametrize("batch_norm", ["support", "transductive"])
def test_without_stored_statistics_none_moves(batch_norm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = FineTune(Deep(), batch_norm=batch_norm, batch_size=5)
    for _, before, after in phases(learner, monkeypatch):
        assert not [name for name in moved(before, after) if "running" in name or "num_batches" in name]


def test_a_frozen_layer_that_moves_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: weight decay of everything, outside the optimiser."""
    learner = FineTune(Deep(), groups=GROUPS, unfreeze=(0,), epochs=(1,))
    train = learner._train

    def leaking(network: nn.Sequential, *rest: Any) -> Any:
        told = train(network, *rest)
        with torch.no_grad():
            for weight in network.parameters():
                weight.mul_(1 - 1e-12)
        return told

    monkeypatch.setattr(learner, "_train", leaking)
    ((_, before, after),) = phases(learner, monkeypatch)
    assert any(name.startswith("0.") for name in moved(before, after))


def test_the_learner_never_changes_and_the_report_tells_what_moved() -> None:
    learner = FineTune(Deep(), groups=GROUPS, lr=0.003).eval()
    before = state(learner)
    tuned = learner.adapt(support(), 3)
    assert moved(before, state(learner)) == set()
    assert all(weight.requires_grad for weight in learner.parameters())
    assert [phase.trained for phase in tuned.report] == [
        ("head",),
        ("blocks.2", "head"),
        ("the rest", "blocks.1", "blocks.2", "head"),
    ]
    assert tuned.report[1].frozen == ("the rest", "blocks.1")
    assert [phase.epochs for phase in tuned.report] == [10, 5, 5]
    assert tuned.report[-1].losses[-1] < tuned.report[0].losses[0]
    assert "phase 3: 5 epochs of the rest at 8.1e-05, blocks.1 at 0.00027, blocks.2 at 0.0009, head at 0.003" in str(tuned)


# --- rates


@pytest.mark.parametrize(
    ("lr_factor", "rates"), [(0.5, [0.025, 0.05, 0.1, 0.2]), ((0.1, 1.0, 2.0), [0.02, 0.2, 0.4, 0.2]), (1.0, [0.2] * 4)]
)
def test_rates_of_the_optimisers_groups_are_those_asked_for(lr_factor: Any, rates: list[float]) -> None:
    learner = FineTune(Deep(), groups=GROUPS, lr=0.2, lr_factor=lr_factor)
    network = nn.Sequential(learner.backbone, nn.Flatten(), nn.Identity(), nn.Linear(5, 3))
    groups = learner.make_optimiser(network).param_groups
    assert [group["name"] for group in groups] == ["the rest", "blocks.1", "blocks.2", "head"]
    assert [group["lr"] for group in groups] == pytest.approx(rates)
    held = [{id(parameter) for parameter in group["params"]} for group in groups]
    assert sum(map(len, held)) == len(set().union(*held)) == len(list(network.parameters()))
    assert held[1] == {id(parameter) for parameter in learner.backbone.get_submodule("blocks.1").parameters()}


# --- against a plain loop


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("head_start", ["zero", "random", "prototypes"])
def test_adapted_weights_are_those_of_a_plain_loop(optimiser: Any, head_start: Any) -> None:
    one = support()
    learner = FineTune(
        Deep(), groups=GROUPS, unfreeze=(0, 1, -1), epochs=(2, 3, 2), lr=0.05, lr_factor=0.4, optimiser=optimiser, momentum=0.7,
        weight_decay=0.02, batch_size=5, head_start=head_start, features="raw",
    )  # fmt: skip
    tuned = learner.adapt(one, 3)

    body, head = deepcopy(learner.backbone).eval(), nn.Linear(5, 3).double()
    with torch.no_grad():
        z = body(one.x)
        means = torch.stack([z[one.y == label].mean(0) for label in range(3)])
        if head_start == "prototypes":
            spread = ((means - means.mean(0)) ** 2).sum() / 3
            head.weight.copy_(2 * means / spread)
            head.bias.copy_(-(means**2).sum(1) / spread)
        elif head_start == "zero":
            head.weight.zero_()
            head.bias.zero_()
        else:
            drawn = torch.rand(3, 6, generator=generator(5, "head"), dtype=torch.float64) * 2 - 1
            head.weight.copy_(drawn[:, :5] / 5**0.5)
            head.bias.copy_(drawn[:, 5] / 5**0.5)
    blocks = [list(block.parameters()) for block in body.blocks]
    settings = [{"params": block, "lr": 0.05 * 0.4 ** (3 - number)} for number, block in enumerate(blocks)]
    settings.append({"params": list(head.parameters()), "lr": 0.05})
    sgd = torch.optim.SGD(settings, lr=1, momentum=0.7, weight_decay=0.02)
    plain = sgd if optimiser == "sgd" else torch.optim.AdamW(settings, lr=1, weight_decay=0.02)
    epoch = 0
    for last, epochs in ((0, 2), (1, 3), (3, 2)):
        for number, block in enumerate(blocks):
            for weight in block:
                weight.requires_grad_(number >= 3 - last)
        for _ in range(epochs):
            for part in torch.randperm(12, generator=generator(5, "order", epoch)).tensor_split(3):
                plain.zero_grad()
                nn.functional.cross_entropy(head(body(one.x[part])), one.y[part]).backward()
                plain.step()
            epoch += 1
    for name, weight in body.named_parameters():
        torch.testing.assert_close(tuned.network[0].get_parameter(name), weight.detach())
    torch.testing.assert_close(tuned.network[3].weight, head.weight.detach())
    torch.testing.assert_close(tuned(one.x), head(body(one.x)).detach())


def test_unit_features_have_length_one_at_the_head() -> None:
    tuned = FineTune(Deep(), epochs=(0,), unfreeze=(0,)).adapt(support(), 3)
    z = tuned.network[:3](support().x)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(12, dtype=torch.float64))
    means = torch.stack([z[4 * label : 4 * label + 4].mean(0) for label in range(3)])
    distances = torch.cdist(z, means).square()
    differences = tuned(support().x).log_softmax(1) * ((means - means.mean(0)) ** 2).sum() / 3 + distances
    torch.testing.assert_close(differences, differences[:, :1].expand(-1, 3))  # the nearest-mean rule, but for a scale


# --- randomness, batch norm, scratch


def test_scratch_draws_every_weight_anew_from_the_episodes_seed() -> None:
    options: dict[str, Any] = {"start": "scratch", "unfreeze": (0,), "epochs": (0,)}
    learner = FineTune(Deep(), **options)
    before = torch.random.get_rng_state()
    once, again, other = (learner.adapt(support(seed=seed), 3) for seed in (5, 5, 6))
    assert torch.equal(before, torch.random.get_rng_state())
    assert moved(once.network.state_dict(), again.network.state_dict()) == set()
    weights = {name for name, _ in Deep().named_parameters() if name.endswith(".0.weight") or name.endswith(".0.bias")}
    assert weights <= moved(Deep().state_dict(), once.network[0].state_dict())
    assert weights <= moved(other.network[0].state_dict(), once.network[0].state_dict())
    assert float(once.network[0].get_buffer("blocks.0.1.running_mean").abs().max()) == 0


def test_support_statistics_answer_one_by_one_and_transductive_ones_do_not() -> None:
    queries = support(seed=9).x
    for batch_norm, alone in (("running", True), ("support", True), ("transductive", False)):
        tuned = FineTune(Deep(), batch_norm=batch_norm).adapt(support(), 3)
        together = tuned(queries)
        pairs = torch.cat([tuned(queries[number : number + 2]) for number in range(0, 12, 2)])
        assert torch.allclose(together, pairs) == alone, batch_norm


def test_augmentation_is_of_the_episodes_seed_and_changes_the_result() -> None:
    drawn = torch.rand(6, 1, 8, 8, generator=generator(0, "pictures"))
    one = Examples(drawn, torch.arange(6) % 2, torch.tensor(4))
    plain = FineTune(tiny_backbone()).adapt(one, 2)(drawn)
    changed = FineTune(tiny_backbone(), augment=("flip", "shift", "crop"))
    assert torch.equal(changed.adapt(one, 2)(drawn), changed.adapt(one, 2)(drawn))
    assert not torch.equal(changed.adapt(one, 2)(drawn), plain)
    with pytest.raises(LearnerError, match=r"augment changes pictures \(channels, height, width\); these items have shape \(3,\)"):
        FineTune(Deep(), augment=("flip",)).adapt(support(), 3)


def test_restored_answers_as_the_one_that_was_trained() -> None:
    for batch_norm in ("running", "support"):
        learner = FineTune(Deep(), batch_norm=batch_norm)  # type: ignore[arg-type]  # one of the two
        tuned = learner.adapt(support(), 3)
        again = learner.restored(tuned.network.state_dict(), support(), 3)
        assert isinstance(again, FineTuned)
        assert torch.equal(again(support(seed=8).x), tuned(support(seed=8).x))
    with pytest.raises(LearnerError, match="do not belong"):
        FineTune(tiny_backbone()).restored(tuned.network.state_dict(), support(), 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unfreeze": (0,)}, r"got 1 of unfreeze and 3 of epochs: unfreeze=\[0\], epochs=\[10, 5, 5\]"),
        ({"unfreeze": (0, 1, 4)}, r"unfreeze must lie in 0 \.\. 3"),
        ({"lr_factor": (0.1, 0.2)}, "lr_factor needs one number, or one for each of the 3 groups; got 2"),
        ({"lr_factor": 0.0}, "lr_factor must be positive"),
        ({"lr": 0.0}, "needs lr > 0"),
        ({"batch_size": 0}, "batch_size >= 1"),
        ({"statistics": "moving", "batch_norm": "support"}, "statistics='moving' moves stored statistics"),
        ({"start": "scrath"}, "start of FineTune must be one of trained, scratch; got 'scrath'"),
        ({"augment": ("flop",)}, "augment of FineTune must be one of crop, jitter, flip, shift, zoom; got 'flop'"),
        ({"groups": 0}, "groups must be at least 1"),
        ({"groups": (("blocks.1", "blocks.1"),)}, "prefixes of its own"),
    ],
)
def test_wrong_arguments_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(LearnerError, match=message):
        FineTune(Deep(), **options)


@pytest.mark.parametrize("options", [{"batch_norm": "support"}, {"statistics": "moving", "unfreeze": (-1, -1, -1)}])
def test_a_mini_batch_of_one_cannot_normalise_itself(options: dict[str, Any]) -> None:
    with pytest.raises(LearnerError, match=r"A mini-batch of 1 has no statistics to normalise by. Raise batch_size \(now 1\)"):
        FineTune(Deep(), batch_size=1, **options).adapt(support(), 3)


# --- layer groups


def test_groups_follow_the_structure_and_norms_stay_with_their_layer() -> None:
    groups = layer_groups(Deep(), 3)
    assert [group.prefixes for group in groups] == [
        ("blocks.0.0", "blocks.0.1"),
        ("blocks.1.0", "blocks.1.1"),
        ("blocks.2.0", "blocks.2.1"),
    ]
    assert len(layer_groups(Deep(), 10)) == 3
    assert [group_of(name, groups) for name, _ in Deep().named_parameters()] == [0] * 4 + [1] * 4 + [2] * 4


def test_named_groups_take_the_longest_prefix_and_the_rest_comes_first() -> None:
    groups = layer_groups(Deep(), (("blocks",), ("blocks.2.0",)))
    assert [group_of(name, groups) for name in ("blocks.0.0.weight", "blocks.2.0.bias", "blocks.2.1.weight")] == [0, 1, 0]
    assert layer_groups(Deep(), (("blocks.2",),))[0].name == "the rest"
    with pytest.raises(UnknownNameError, match=r"Unknown layer of Deep 'blocks.22'. Did you mean blocks.2"):
        layer_groups(Deep(), (("blocks.22",),))
    with pytest.raises(LearnerError, match="Identity has no parameters"):
        layer_groups(nn.Identity(), 2)


# --- what is no setting, and what is no support set


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unfreeze": 1, "epochs": 5}, r"unfreeze of FineTune is a list of whole numbers, one for each phase, such as \(0, 1\); got 1\."),
        ({"epochs": 5}, r"epochs of FineTune is a list of whole numbers, .* got 5\."),
        ({"epochs": (1.5, 1, 1)}, r"epochs of FineTune is a list of whole numbers, .* got \(1\.5, 1, 1\)"),
        ({"unfreeze": (True,), "epochs": (1,)}, "unfreeze of FineTune is a list of whole numbers"),
        ({"unfreeze": (0, -1)}, "FineTune needs as many of epochs as of unfreeze, one for each phase; got 2 of unfreeze and 3 of epochs"),
        ({"unfreeze": (), "epochs": ()}, "at least one phase"),
        ({"epochs": (-1, 1, 1)}, r"epochs of FineTune must be at least 0; got \[-1, 1, 1\]"),
        ({"lr": "x"}, "lr of FineTune is a finite number; got 'x'"),
        ({"lr": float("nan")}, "lr of FineTune is a finite number; got nan"),
        ({"weight_decay": float("inf")}, "weight_decay of FineTune is a finite number; got inf"),
        ({"batch_size": 2.5}, r"batch_size of FineTune is a whole number; got 2\.5"),
        ({"lr_factor": float("nan")}, "lr_factor of FineTune is a finite number; got nan"),
        ({"lr_factor": (0.1, 0.2, "x")}, "lr_factor of FineTune is a finite number; got 'x'"),
        ({"lr_factor": "x"}, "lr_factor of FineTune is a finite number; got 'x'"),
        ({"augment": "flip"}, r"augment of FineTune is a list of names, such as \('flip',\); got 'flip'"),
        ({"augment": 3}, "augment of FineTune is a list of names"),
        (
            {"groups": "blocks.1"},
            r"groups is a number, or for each group a list of prefixes, such as \(\('blocks\.1',\),\); got 'blocks\.1'",
        ),
        ({"groups": ("blocks.1", "blocks.2")}, r"such as \(\('blocks\.1',\),\); got \('blocks\.1', 'blocks\.2'\)"),
        ({"groups": 2.5}, r"groups is a number, .* got 2\.5"),
    ],
)
def test_settings_of_another_kind_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(LearnerError, match=message):
        FineTune(Deep(), **options)


@pytest.mark.parametrize("backbone", ["resnet18", nn.Linear])
def test_a_backbone_that_is_no_module_is_told(backbone: Any) -> None:
    with pytest.raises(LearnerError, match=r"backbone of FineTune is a torch\.nn\.Module; got "):
        FineTune(backbone)


@pytest.mark.parametrize(
    ("kept", "ways", "message"),
    [
        (slice(0, 0), 3, "The support set is empty."),
        (slice(0, 8), 3, r"The support set has no item of class 2; each of the 3 classes needs one\."),
        (slice(None), 2, r"The support set has labels 0 \.\. 2; 2 ways have 0 \.\. 1\."),
    ],
)
def test_a_support_set_that_cannot_be_learned_from_is_told(kept: slice, ways: int, message: str) -> None:
    whole = support()
    with pytest.raises(LearnerError, match=message):
        FineTune(Deep()).adapt(Examples(whole.x[kept], whole.y[kept]), ways)
