"""README and docs: their Python runs, their links lead somewhere, their numbers are those of the result files."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
_SAMPLES = [(file, number, code) for file in DOCUMENTS for number, code in enumerate(_PYTHON.findall(file.read_text(encoding="utf-8")))]


@pytest.mark.parametrize(("file", "number", "code"), _SAMPLES, ids=[f"{file.stem}-{number}" for file, number, _ in _SAMPLES])
def test_python_in_documents_runs(file: Path, number: int, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    labels = [item % 6 for item in range(6 * 20)]
    given = {"labels": labels, "dataset": torch.utils.data.TensorDataset(torch.rand(120, 1, 28, 28), torch.tensor(labels))}
    earlier = [sample for other, earlier, sample in _SAMPLES if other == file and earlier < number]  # a page is read from its top
    namespace: dict[str, object] = {"__name__": "document", **given}
    for sample in (*earlier, code):
        exec(compile(sample, f"{file.name} sample {number}", "exec"), namespace)
    assert namespace.keys() > given.keys()


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


def test_a_number_changed_by_hand_is_noticed() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    number = re.search(r"\d\d\.\d\d ± \d\.\d\d", text)
    assert number is not None
    forged = text.replace(number[0], "99.99 ± 0.01")
    assert _render().rendered(forged) != forged
