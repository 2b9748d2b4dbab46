import importlib.util
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metashot.harness import embeddings
from metashot.harness.embeddings import cached_embeddings, embed, embedding_key
from metashot.learners import FeatureLearner, ProtoNet
from metashot.training.checkpoints import weights_bytes
from tests.toy_learners import tiny_backbone, toy_store

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("METASHOT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "embeddings"


class Counts(ProtoNet):
    """Counts the calls of `embed`, without keeping the count on itself."""

    calls = 0

    def embed(self, x: Tensor) -> Tensor:
        Counts.calls += 1
        return super().embed(x)


def made(learner: FeatureLearner, *, data: str = "pool", device: torch.device = CPU) -> tuple[Tensor, bool]:
    """Embeddings of the toy pool, and whether they had to be made."""
    before = Counts.calls
    store = toy_store()
    features = cached_embeddings(learner.eval(), store.fetch, count=len(store), data=data, device=device)
    return features, Counts.calls > before


def counts(**arguments: Any) -> Counts:
    return Counts(tiny_backbone(**arguments))


def test_the_same_again_is_read_and_not_made() -> None:
    first, was_made = made(counts())
    assert was_made
    again, was_made = made(counts())  # another object with the same weights
    assert not was_made
    assert torch.equal(again, first)
    assert again.dtype == first.dtype
    store = toy_store()
    with torch.no_grad():
        torch.testing.assert_close(first, counts().eval().embed(store.fetch(torch.arange(len(store)))))


def _weight(learner: Counts) -> None:
    with torch.no_grad():
        learner.backbone.linear.bias[0] += 1e-6  # type: ignore[union-attr,index]


def _buffer(learner: Counts) -> None:
    learner.backbone.norm.running_var.mul_(1.001)  # type: ignore[union-attr,index,operator]


def _hidden_buffer(value: float) -> Callable[[Counts], None]:
    return lambda learner: learner.backbone.register_buffer("shift", torch.tensor([value]), persistent=False)


CHANGES: dict[str, Callable[[Counts], object]] = {
    "a weight": _weight,
    "a running statistic": _buffer,
    "the dtype of the weights": lambda learner: setattr(learner.backbone, "linear", learner.backbone.linear.half()),  # type: ignore[operator]
    "a hyper-parameter of the learner": lambda learner: setattr(learner, "power", 0.5),
    "a hyper-parameter of the backbone": lambda learner: setattr(learner.backbone, "scale", 2.0),
    "a tuple of the backbone": lambda learner: setattr(learner.backbone, "mean", (0.1, 0.2)),
    "a function of the backbone": lambda learner: setattr(learner.backbone, "activation", torch.tanh),
    "a tensor outside the state dict": lambda learner: setattr(learner.backbone, "shift", torch.ones(1)),
    "another tensor outside the state dict": lambda learner: setattr(learner.backbone, "shift", torch.zeros(1)),
    "a buffer outside the state dict": _hidden_buffer(3.0),
    "another buffer outside the state dict": _hidden_buffer(2.0),
    "an option of a layer": lambda learner: setattr(learner.backbone.norm, "eps", 1e-3),
    "the structure": lambda learner: setattr(learner.backbone, "dropout", nn.Identity()),
}


def test_each_change_of_the_learner_has_a_key_of_its_own() -> None:
    keys = {"nothing": embedding_key(counts().eval(), "pool", CPU).digest}
    for name, change in CHANGES.items():
        learner = counts().eval()
        change(learner)
        keys[name] = embedding_key(learner, "pool", CPU).digest
    assert len(set(keys.values())) == len(keys), keys
    assert embedding_key(counts().eval(), "pool", CPU).digest == keys["nothing"]


@pytest.mark.parametrize("name", ["a weight", "a running statistic", "a hyper-parameter of the backbone"])
def test_a_change_of_the_learner_makes_embeddings_anew(name: str) -> None:
    first, _ = made(counts())
    changed = counts()
    CHANGES[name](changed)
    features, was_made = made(changed)
    assert was_made
    assert not torch.equal(features, first)
    again, was_made = made(counts())
    assert not was_made  # the first entry is still there
    assert torch.equal(again, first)


def test_each_field_of_the_key_changes_its_digest() -> None:
    key = embedding_key(counts().eval(), "pool", CPU)
    for field in fields(key):
        value = getattr(key, field.name)
        assert replace(key, **{field.name: value + 1 if isinstance(value, int) else value + "x"}).digest != key.digest, field.name
    assert {field.name for field in fields(key)} == {"weights", "code", "data", "dtype", "device", "torch", "format"}


def test_the_key_names_data_dtype_device_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    key = embedding_key(counts().eval(), "pool", torch.device("cuda", 1))
    assert (key.data, key.dtype, key.device, key.torch, key.format) == (
        "pool",
        "torch.float32",
        "cuda",
        torch.__version__,
        embeddings.FORMAT_VERSION,
    )
    assert embedding_key(counts().double().eval(), "pool", CPU).dtype == "torch.float64"
    monkeypatch.setattr(torch, "__version__", "0.0")
    assert embedding_key(counts().eval(), "pool", CPU).torch == "0.0"


def test_other_data_and_another_torch_make_embeddings_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    made(counts())
    assert made(counts(), data="another pool")[1]
    monkeypatch.setattr(torch, "__version__", "0.0")
    assert made(counts())[1]


SOURCE = """
from torch import nn
from metashot.learners import ProtoNet
class Scaled(nn.Module):
    def forward(self, x):
        return FACTOR * x.flatten(1)
class Base(ProtoNet):
    pass
"""


def _module(name: str, path: Path, source: str) -> ModuleType:
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


@pytest.mark.parametrize("part", ["backbone", "base class"])
def test_other_code_makes_embeddings_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    digests = []
    for factor in ("2.0", "3.0", "2.0"):
        module = _module("changing", tmp_path / "changing.py", SOURCE.replace("FACTOR", factor))
        if part == "backbone":
            learner: FeatureLearner = ProtoNet(module.Scaled())
        else:
            learner = type("Derived", (module.Base,), {"__module__": __name__})(nn.Flatten())
        digests.append(embedding_key(learner, "pool", CPU).digest)
    del sys.modules["changing"]
    assert digests[0] == digests[2] != digests[1]


def test_a_class_without_a_source_file_is_embedded_and_nothing_is_kept(cache: Path) -> None:
    namespace: dict[str, Any] = {"nn": nn, "__name__": "typed_in"}
    exec("class Typed(nn.Module):\n    def forward(self, x):\n        return x.flatten(1)", namespace)
    learner = ProtoNet(namespace["Typed"]())
    features, _ = made(learner)
    assert features.shape == (96, 64)
    assert not cache.exists() or not list(cache.iterdir())


def test_two_checkpoints_in_turn_at_one_path_give_embeddings_of_their_own(tmp_path: Path) -> None:
    path, results = tmp_path / "weights.pt", []
    for seed in (0, 1):
        path.write_bytes(weights_bytes(counts(seed=seed)))
        from safetensors.torch import load

        learner = counts()
        learner.load_state_dict(load(path.read_bytes()))
        results.append(made(learner)[0])
    assert not torch.equal(results[0], results[1])


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_a_damaged_entry_is_told_and_made_anew(cache: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    first, _ = made(counts())
    (file,) = cache.glob("*/entry/features.safetensors")
    content = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    else:
        content[-5] ^= 1
        file.write_bytes(content if damage == "flipped" else content[:-8])
    with caplog.at_level(logging.WARNING, "metashot"):
        again, was_made = made(counts())
    assert was_made
    assert torch.equal(again, first)
    assert "Making cached embeddings anew" in caplog.text
    assert "features.safetensors" in caplog.text
    assert not made(counts())[1]


def test_an_embedding_does_not_depend_on_which_others_are_asked_for() -> None:
    store, learner = toy_store(items=80), counts().eval()  # 640 images, three chunks
    whole = embed(learner, store.fetch, torch.arange(640))
    assert whole.shape == (640, 6)
    assert not whole.requires_grad
    assert torch.equal(embed(learner, store.fetch, torch.arange(512)), whole[:512])


def test_an_embedding_that_was_cut_off_leaves_no_entry(cache: Path) -> None:
    class Breaks(Counts):
        def embed(self, x: Tensor) -> Tensor:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(Breaks(tiny_backbone()))
    assert [path.name for path in cache.glob("*/*")] == ["lock"]


TOGETHER = """
import sys, torch
torch.set_num_threads(1)
from hashlib import sha256
from metashot.harness.embeddings import cached_embeddings
from metashot.learners import ProtoNet
from tests.toy_learners import tiny_backbone, toy_store
store = toy_store()
print("ready", flush=True)
sys.stdin.readline()
features = cached_embeddings(ProtoNet(tiny_backbone()).eval(), store.fetch, count=len(store), data="pool", device=torch.device("cpu"))
print(sha256(features.numpy().tobytes()).hexdigest())
"""


def test_two_processes_at_once_agree_on_one_entry(cache: Path) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", TOGETHER]
    both = [subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    answers = [process.communicate("\n") for process in both if process.stdin]
    assert [process.returncode for process in both] == [0, 0]
    assert len({answer for answer, _ in answers}) == 1
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1
