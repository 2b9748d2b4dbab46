"""README and docs: their Python runs, their links lead somewhere, their numbers are those of the result files."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import metashot
from metashot.cli import main

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
WITH_PYTHON = [file for file in DOCUMENTS if _PYTHON.search(file.read_text(encoding="utf-8"))]


@pytest.fixture(autouse=True)
def _readers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents are read in a folder that holds the log of a run."""
    monkeypatch.chdir(tmp_path)
    ids = np.zeros((2, 5, 15))
    pool = {"class_sizes": np.full(5, 20), "base_class": np.arange(5), "group": np.full(5, -1), "base_image": np.arange(100)}
    log = metashot.EpisodeLog(
        ids[..., 0], ids[..., :1], ids, np.eye(2, dtype=bool)[:, :1, None] & (ids == 0), **pool, version=1, seed=0, start=0
    )
    log.save(tmp_path / "runs/glyphs-5w1s-protonet/full/seed0/logs/glyphs-test-5w1s.npz")


def _run(file: Path) -> dict[str, Any]:
    """What a document's Python blocks define, run one after the other as a reader would; a page of the docs after the quickstart."""
    labels = torch.arange(8).repeat_interleave(20)
    names: dict[str, Any] = {"labels": labels, "dataset": TensorDataset(torch.rand(len(labels), 4), labels), "metashot": metashot}
    quickstart = ROOT / "docs" / "quickstart.md"
    for document in dict.fromkeys([file] if file.name == "README.md" else [quickstart, file]):
        for number, code in enumerate(_PYTHON.findall(document.read_text(encoding="utf-8"))):
            exec(compile(code, f"{document.name} block {number}", "exec"), names)
    return names


@pytest.mark.parametrize("file", WITH_PYTHON, ids=lambda file: file.stem)
def test_python_in_documents_runs(file: Path) -> None:
    sampler = _run(file)["sampler"]
    assert sampler[7] == sampler.plan(7, 1)


def test_quickstart_splits_support_from_query_and_its_learner_finds_the_nearest() -> None:
    names = _run(ROOT / "docs" / "quickstart.md")
    assert (names["support"].shape, names["query"].shape) == ((5, 4), (75, 4))
    support = metashot.Examples(torch.tensor([[0.0], [1.0], [5.0], [6.0]]), torch.tensor([0, 1, 1, 0]))
    learner = names["NearestNeighbour"](torch.nn.Identity()).eval()
    logits = learner.adapt(support, 2)(torch.tensor([[0.1], [0.9], [5.2], [9.0]]))
    torch.testing.assert_close(logits.argmax(-1), torch.tensor([0, 1, 1, 0]))


def test_groups_of_the_episodes_page_keep_rotations_apart() -> None:
    sampler = _run(ROOT / "docs" / "episodes.md")["sampler"]
    names = sampler.class_names
    assert all({names[a][0], names[b][0]} == {"A", "B"} for a, b in sampler.plan(0, 100).classes)


def test_learner_of_the_readme_classifies_by_the_nearest_mean() -> None:
    learner = _run(ROOT / "README.md")["NearestMean"]()
    support = metashot.Examples(torch.tensor([[0.0], [2.0], [5.0], [9.0]]), torch.tensor([0, 0, 1, 1]))
    logits = learner.adapt(support, 2)(torch.tensor([[3.0], [5.0]]))  # means 1 and 7
    torch.testing.assert_close(logits, torch.tensor([[-2.0, -4.0], [-4.0, -2.0]]))


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.stem)
def test_links_lead_to_files(file: Path) -> None:
    missing = [link for link in _LINK.findall(file.read_text(encoding="utf-8")) if not (file.parent / link).exists()]
    assert missing == []


def _render() -> ModuleType:
    """benchmarks/tables/render.py as a module."""
    spec = importlib.util.spec_from_file_location("render", ROOT / "benchmarks" / "tables" / "render.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.stem)
def test_tables_are_those_of_the_result_files(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert _render().rendered(text) == text, "run `python benchmarks/tables/render.py`"
    for name, picture in _render().pictures(text).items():
        assert file.with_name(name).read_text(encoding="utf-8") == picture, "run `python benchmarks/tables/render.py`"


@pytest.mark.parametrize(
    ("number", "forged"),
    [
        (r"\| (\d\d\.\d\d) \|", "99.99"),  # in a table
        (r"episodes ± (\d\.\d\d) ", "0.01"),  # in a line of scopes
        (r"\| (within|above|below) \|", "beyond"),  # a verdict
    ],
)
def test_what_was_changed_by_hand_is_noticed(number: str, forged: str) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(number, text)
    assert found is not None
    assert _render().rendered(text[: found.start(1)] + forged + text[found.end(1) :]) == text


_ONE = "omniglot-5w1s-protonet/full/seed0"


def _block(words: str) -> str:
    return f"<!-- table: {words} -->\nstale\n<!-- /table -->"


def test_a_block_is_what_the_command_prints(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (_ONE, f"--pivot --scope episodes {_ONE}"):
        text = _render().rendered(_block(words))
        monkeypatch.chdir(ROOT / "benchmarks" / "results")
        main(["table", *words.split()])
        assert text == f"<!-- table: {words} -->\n\n{capfd.readouterr().out}\n<!-- /table -->"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("no-such-recipe*/full", "matches no run"),
        ("no-such-recipe/full/seed0", "there is no folder"),
        (f"--pivto {_ONE}", "--pivto"),
        (f"--mean {_ONE}", "--mean belongs to --pivot"),
    ],
)
def test_a_block_that_names_nothing_is_refused(words: str, told: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        _render().rendered(_block(words))
    assert told in str(stopped.value)


def test_a_document_cannot_hold_a_failed_run(tmp_path: Path) -> None:
    (tmp_path / "a/full/seed0/logs").mkdir(parents=True)
    with pytest.raises(SystemExit) as stopped:
        _render().rendered(_block("a/full/seed0"), tmp_path)
    assert "1 of 1 cells failed" in str(stopped.value)
