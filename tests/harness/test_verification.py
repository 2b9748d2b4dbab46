"""Saved results are verified: intact ones pass, and every planted fault is found and named."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metashot.atomic import MANIFEST
from metashot.cli import main
from metashot.errors import UnknownNameError
from metashot.harness import as_registered
from metashot.harness.findings import faults, unchecked
from metashot.harness.recipe import Resolved
from metashot.harness.recipe import resolve as resolved
from metashot.harness.verification import RunCheck, _Data, results_below, summary, verify
from metashot.stats import EpisodeLog

PLAIN = "runs/glyphs-5w1s-protonet/smoke/seed0"
EVALUATION = f"{PLAIN}/eval/glyphs-test-3w2s-queries4+4717db75"
LOG = "logs/glyphs-test-5w1s.npz"

# What nothing that is kept can tell again, and why. A key is a dotted path, `*` any part of it.
NOT_RECOMPUTED = {
    "cells.*.seconds": "wall time of the evaluation",
    "versions.*": "of the machine that evaluated",
    "git_revision": "of the machine that evaluated",
    "device": "of the machine that evaluated",
    "threads": "of the machine that evaluated",
    "recipe.notes": "words, which a recipe may change; what differs from the registered recipe is said",
    "cells.*.stopping.half_width": "an option of the command line; found out only where the rule would have ended elsewhere",
    "cells.*.stopping.n_max": "an option of the command line; where the rule ended before, any larger number would have done",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registered recipe's run with probabilities, an evaluation of it, and a changed run that watched its interval."""
    folder = tmp_path_factory.mktemp("made")
    bench = ["bench", "glyphs-5w1s-protonet", "--budget", "smoke", "--out", str(folder / "runs")]
    main([*bench, "--calibration"])
    asked = ["--ways", "3", "--shots", "2", "--queries", "4", "--episodes", "50", "--set", "learner.batch_norm=transductive"]
    main(["eval", str(folder / PLAIN), *asked])
    main([*bench, "--set", "train.steps=2", "--set", "evaluate.episodes=400", "--until-half-width", "1.5"])
    return folder


@pytest.fixture
def tree(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it as the current folder, to plant faults in."""
    shutil.copytree(made / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _told(*places: str) -> dict[str, list[str]]:
    """`<run>` or `<run> <cell>` -> the fields that are wrong, for what has any."""
    found = {}
    for check in verify(map(Path, places or ["runs"])):
        found[check.folder] = [each.field for each in faults(check.findings)]
        found |= {f"{check.folder} {cell.name}": [each.field for each in faults(cell.findings)] for cell in check.cells}
    return {name: fields for name, fields in found.items() if fields}


def _cell(told: dict[str, list[str]]) -> list[str]:
    """The fields that are wrong with the first cell of the plain run."""
    return told.get(f"{PLAIN} glyphs-test-5w1s", [])


def _edit(folder: str, change: Callable[[dict[str, Any]], object]) -> None:
    path = Path(folder) / "result.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _edit_log(change: Callable[[EpisodeLog], EpisodeLog], folder: str = PLAIN) -> None:
    """Rewrite a log as it would be written: with checksums that fit."""
    path = Path(folder) / LOG
    change(EpisodeLog.load(path)).save(path)


def test_intact_results_are_verified_and_redrawn_on_the_data(tree: Path) -> None:
    checks = list(verify([Path("runs")]))
    assert [check.folder for check in checks] == [str(each) for each in results_below(Path("runs"))]
    assert len(checks) == 3
    assert all(check.ok and not unchecked(check.findings) for check in checks)
    assert [(cell.redrawn, unchecked(cell.findings)) for check in checks for cell in check.cells] == [("data", [])] * 3
    assert summary(checks) == "All verified: 3 cells of 3 results, 3 of them redrawn on the data."
    assert all(line.startswith("ok ") for check in checks for line in check.lines())


def test_a_folder_named_twice_is_verified_once(tree: Path) -> None:
    assert next(check.folder for check in verify([Path(PLAIN), Path("runs"), tree])) == PLAIN
    assert len(list(verify([Path(PLAIN), Path("runs"), tree]))) == 3


def test_where_there_is_no_result_nothing_is_verified(tree: Path) -> None:
    (tree / "empty").mkdir()
    with pytest.raises(UnknownNameError, match=r"no result\.json in it or below"):
        verify([Path("runs"), Path("empty")])
    with pytest.raises(UnknownNameError, match="no such folder"):
        verify([Path("nowhere")])


def test_evaluations_with_other_settings_of_learner_and_data_are_verified(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.parent)
    run = "runs/tiny/full/seed0"
    main(["bench", "tiny.toml"])
    asked = ["--ways", "3", "--shots", "1", "--queries", "2", "--episodes", "40"]
    main(["eval", run, *asked, "--set", "data.jitter=0.5", "--set", "learner.batch_norm=transductive"])
    main(["eval", run, *asked, "--seed", "5", "--split", "val"])
    (step,) = (each.name for each in Path(run, "checkpoints").iterdir() if each.name == "6")
    main(["eval", f"{run}/checkpoints/{step}", *asked])
    shutil.copytree(f"{run}/checkpoints/final", "elsewhere")  # a checkpoint by itself is its own run
    main(["eval", "elsewhere", *asked])
    assert _told() == {}
    assert _told("elsewhere") == {}
    assert len(list(verify([Path("runs"), Path("elsewhere")]))) == 5
    (changed,) = Path(run, "eval").glob("*+*")
    _edit(str(changed), lambda result: result["overrides"].update({"data.jitter": 0.25}))
    assert _told()[str(changed)] == ["overrides"]
    _edit(str(changed), lambda result: result["overrides"].update({"data.jitter": 0.5}))
    _edit(str(changed), lambda result: result["recipe"]["data"]["arguments"].update(jitter=0.25))
    assert "recipe.data.arguments.jitter" in _told()[str(changed)]


# --- every leaf of result.json


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, str(index)))
    else:
        yield path


def _at(value: Any, key: str) -> Any:
    return value[int(key)] if isinstance(value, list) else value[key]


def _edited(value: Any) -> Any:
    """A value of the same kind, a little off."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * (1 + 1e-6) if value else 1e-6
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1:] != "0" else "1")
    return {"x": 1} if value == {} else ["x"] if isinstance(value, list) else 1


def _excused(path: tuple[str, ...]) -> str | None:
    for pattern in NOT_RECOMPUTED:
        parts = pattern.split(".")
        if len(parts) == len(path) and all(part in ("*", key) for part, key in zip(parts, path, strict=True)):
            return pattern
    return None


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3), ids=["evaluation", "plain", "changed"])
def test_every_leaf_of_a_result_is_recomputed_or_excused(tree: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = _Data(None)
    monkeypatch.setattr("metashot.harness.verification._Data", lambda root: opened)  # the same data for every leaf is opened once
    folder = sorted(results_below(Path("runs")), key=lambda each: (each.parent.name != "eval", "+" in str(each)))[number]
    whole = json.loads((folder / "result.json").read_text())
    missed, needless, used = [], set(), set()
    leaves = list(_leaves(whole))
    for path in leaves:
        content = json.loads(json.dumps(whole))
        holder = content
        for key in path[:-1]:
            holder = _at(holder, key)
        holder[path[-1]] = _edited(holder[path[-1]])
        (folder / "result.json").write_text(json.dumps(content))
        ok = all(check.ok for check in verify([folder]) if Path(check.folder) == folder)
        excuse = _excused(path)
        if ok and excuse is None:
            missed.append(".".join(path))
        if excuse is not None:
            used.add(excuse)
            needless |= {excuse} if not ok else set()
    assert len(leaves) > 80
    assert missed == []
    if number:  # an evaluation copies its run's notes; nothing else is excused that is found out
        assert needless == set()
        assert used >= {key for key in NOT_RECOMPUTED if "stopping" not in key}


@pytest.mark.parametrize(("key", "value"), [("half_width", 0.02), ("half_width", 0.001), ("n_max", 299), ("n_min", 100), ("every", 50)])
def test_a_rule_that_would_have_ended_elsewhere_is_named(tree: Path, key: str, value: float) -> None:
    folder = next(each for each in results_below(Path("runs")) if "+d" in each.parts[1])
    _edit(str(folder), lambda result: result["cells"][0]["stopping"].update({key: value}))
    fields = _told()[f"{folder} glyphs-test-5w1s"]
    assert any(field.startswith("stopping") for field in fields)
    if value == 0.001:  # it would have gone on
        assert fields == ["stopping"]


@pytest.mark.parametrize("key", ["images", "seeds"])
def test_a_scope_taken_out_is_missed(tree: Path, key: str) -> None:
    _edit(PLAIN, lambda result: result["cells"][0]["intervals"].pop(key))
    assert _cell(_told()) == [f"intervals.{key}"]


@pytest.mark.parametrize("key", ["reason", "reliable"])
def test_a_doubt_taken_out_is_missed(tree: Path, key: str) -> None:
    _edit(PLAIN, lambda result: result["cells"][0]["intervals"]["images"].pop(key))
    assert _cell(_told()) == [f"intervals.images.{key}"]


@pytest.mark.parametrize("key", ["calibration", "stopping"])
def test_a_figure_taken_out_is_missed(tree: Path, key: str) -> None:
    _edit(PLAIN, lambda result: result["cells"][0].pop(key))
    assert _cell(_told()) == [key]


def test_the_last_bits_of_another_machine_are_no_fault_and_a_digit_is(tree: Path) -> None:
    def times(factor: float) -> Callable[[dict[str, Any]], object]:
        return lambda result: result["cells"][0].update(estimate=result["cells"][0]["estimate"] * factor)

    _edit(PLAIN, times(1 + 1e-13))
    assert _told() == {}
    _edit(PLAIN, times(1 + 1e-8))
    assert _cell(_told()) == ["estimate"]


def test_an_older_result_with_one_scope_says_what_could_not_be_checked(tree: Path) -> None:
    def older(result: dict[str, Any]) -> None:
        (cell,) = result["cells"]
        del cell["calibration"], cell["stopping"], result["code"], result["checkpoint"], result["shared"], result["pretraining"]
        cell["intervals"] = {"episodes": {k: v for k, v in cell["intervals"]["episodes"].items() if k not in ("reliable", "reason")}}

    _edit(PLAIN, older)
    (check,) = (each for each in verify([Path(PLAIN)]) if each.folder == PLAIN)
    assert check.ok
    assert unchecked(check.cells[0].findings) == [
        "scope images, scope classes, scope seeds, reason, reliable, calibration: the result was written without"
    ]
    assert "not checked: scope images" in "".join(check.lines())
    _edit(PLAIN, lambda result: result["cells"][0]["intervals"]["episodes"].update(upper=0.99))
    assert _cell(_told()) == ["intervals.episodes.upper"]


# --- the log


def test_a_flipped_answer_in_a_log_with_sound_checksums_is_named(tree: Path) -> None:
    def flip(log: EpisodeLog) -> EpisodeLog:
        correct = log.correct.copy()
        correct[17, 2, 3] ^= True
        return replace(log, correct=correct)

    _edit_log(flip)
    told = _told()
    assert list(told) == [f"{PLAIN} glyphs-test-5w1s"]
    assert {"estimate", "intervals.episodes.lower", "intervals.classes.half_width", "calibration.ece.estimate"} <= set(_cell(told))


def test_a_flipped_bit_in_the_file_of_a_log_is_named(tree: Path) -> None:
    path = Path(PLAIN) / LOG
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert _told() == {f"{PLAIN} glyphs-test-5w1s": ["log"]}


@pytest.mark.parametrize("name", ["support_ids", "query_ids"])
def test_swapped_ids_are_named(tree: Path, name: str) -> None:
    def swap(log: EpisodeLog) -> EpisodeLog:
        ids = getattr(log, name).copy()
        ids[5, 0, 0], ids[5, 1, 0] = ids[5, 1, 0], ids[5, 0, 0]
        return replace(log, **{name: ids})

    _edit_log(swap)
    assert {"plan_hash", f"log.{name}"} <= set(_cell(_told()))


def test_swapped_ids_are_named_without_the_data_and_with_a_hash_that_fits(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metashot.episodes import EpisodeSpec
    from metashot.harness import verification
    from metashot.harness.redrawing import plan_of

    monkeypatch.setattr(verification, "build_stores", _nothing_at_hand)
    assert _told() == {}
    log = EpisodeLog.load(Path(PLAIN) / LOG)
    ids = log.query_ids.copy()
    ids[5, 0, [0, 1]] = ids[5, 0, [1, 0]]
    forged = replace(log, query_ids=ids)
    forged.save(Path(PLAIN) / LOG)
    _edit(PLAIN, lambda result: result["cells"][0].update(plan_hash=plan_of(forged, EpisodeSpec(5, 1, 15)).hash))
    told = _told()
    assert "log.query_ids" in _cell(told)
    assert "plan_hash" not in _cell(told)


def _nothing_at_hand(*_: object, **__: object) -> None:
    from metashot.errors import MissingDataError

    raise MissingDataError("nothing is at hand")


def test_without_the_data_it_is_said_that_only_the_log_was_used(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metashot.harness import verification

    monkeypatch.setattr(verification, "build_stores", _nothing_at_hand)
    checks = list(verify([Path("runs")]))
    assert all(check.ok for check in checks)
    assert {cell.redrawn for check in checks for cell in check.cells} == {"log"}
    assert "0 of them redrawn on the data" in summary(checks)
    assert "redrawn from the log, without the data" in next(checks[0].lines())


def test_another_seed_is_named(tree: Path) -> None:
    _edit_log(lambda log: replace(log, seed=1))
    told = _cell(_told())
    assert {"seed", "plan_hash", "log.class_ids", "log.support_ids", "log.query_ids"} <= set(told)


def test_another_version_or_start_of_the_stream_is_named(tree: Path) -> None:
    _edit_log(lambda log: replace(log, version=2, start=1))
    assert {"log.version", "log.start", "plan_hash"} <= set(_cell(_told()))


def test_a_log_with_too_few_episodes_is_named(tree: Path) -> None:
    _edit_log(lambda log: log.first(len(log) - 1))
    assert "episodes" in _cell(_told())


def test_a_log_that_goes_on_is_counted_as_far_as_the_result_goes(tree: Path) -> None:
    _edit(PLAIN, lambda result: result["cells"][0].update(episodes=100))
    told = _cell(_told())
    assert {"estimate", "plan_hash", "episodes"} <= set(told)  # the recipe asks for more


@pytest.mark.parametrize("name", ["class_sizes", "base_class", "base_image", "group"])
def test_a_pool_told_otherwise_is_named(tree: Path, name: str) -> None:
    def change(log: EpisodeLog) -> EpisodeLog:
        array = getattr(log, name).copy()
        array[[3, 40]] = array[[40, 3]] + [1, -1]
        return replace(log, **{name: array})

    _edit_log(change)
    assert f"log.{name}" in _cell(_told())


@pytest.mark.parametrize(
    "broken",
    [
        lambda log: {"support_ids": log.support_ids + 10**6},
        lambda log: {"class_ids": log.class_ids[:, :2]},
        lambda log: {"class_sizes": log.class_sizes[:-1]},
        lambda log: {"base_image": log.base_image[:10]},
        lambda log: {"class_sizes": -log.class_sizes},
        lambda log: {"query_ids": np.full_like(log.query_ids, -1)},
        lambda log: {"group": np.zeros((2, 2))},
        lambda log: {"support_ids": log.support_ids[..., 0]},
    ],
)
def test_a_log_whose_arrays_do_not_fit_is_named(tree: Path, broken: Callable[[EpisodeLog], dict[str, Any]]) -> None:
    _edit_log(lambda log: replace(log, **broken(log)))
    assert any(field.startswith("log.") for field in _cell(_told()))


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00v\x00{'descr': '<i4', 'fortran_order': False, 'shape': (99999999999999,), }", b"{}"]
)
def test_what_is_no_log_is_named(tree: Path, content: bytes) -> None:
    (Path(PLAIN) / LOG).write_bytes(content)
    assert _told() == {f"{PLAIN} glyphs-test-5w1s": ["log"]}


def test_a_missing_log_and_one_that_lies_elsewhere_are_named(tree: Path) -> None:
    (Path(PLAIN) / LOG).rename(tree / "elsewhere.npz")
    assert _told() == {f"{PLAIN} glyphs-test-5w1s": ["log"]}
    (Path(PLAIN) / LOG).symlink_to(tree / "elsewhere.npz")
    assert _told() == {f"{PLAIN} glyphs-test-5w1s": ["log"]}


# --- the run


def test_edited_weights_are_named_even_with_a_manifest_that_fits(tree: Path) -> None:
    final = Path(PLAIN) / "checkpoints" / "final"
    content = bytearray((final / "weights.safetensors").read_bytes())
    content[-5] ^= 1
    (final / "weights.safetensors").write_bytes(content)
    told = _told()
    assert told[PLAIN] == ["checkpoints/final", "weights"]
    assert told[EVALUATION] == ["checkpoints/final", "weights"]
    manifest = json.loads((final / MANIFEST).read_text())
    manifest["files"]["weights.safetensors"]["sha256"] = sha256(content).hexdigest()
    (final / MANIFEST).write_text(json.dumps(manifest))
    assert _told() == {PLAIN: ["weights"], EVALUATION: ["weights"]}


def test_every_damaged_file_of_a_checkpoint_is_named(tree: Path) -> None:
    final = Path(PLAIN) / "checkpoints" / "final"
    (final / "state.json").write_text("{")
    (final / "weights.safetensors").unlink()
    assert _told()[PLAIN][:2] == ["checkpoints/final", "checkpoints/final"]


def test_a_missing_checkpoint_is_said_and_is_no_fault(tree: Path) -> None:
    shutil.rmtree(Path(PLAIN) / "checkpoints")
    assert _told() == {}
    checks = {check.folder: check for check in verify([Path("runs")])}
    for name in (PLAIN, EVALUATION):
        assert any("checkpoints/final is not here" in told for told in unchecked(checks[name].findings))
    assert "not checked: weights" in "".join(checks[PLAIN].lines())


def test_a_cell_taken_out_is_missed_by_its_name(tree: Path) -> None:
    _edit(PLAIN, lambda result: result.update(cells=[]))
    assert _told() == {f"{PLAIN} glyphs-test-5w1s": ["cells"]}
    _edit(EVALUATION, lambda result: result.update(cells=[]))
    assert "cells" in _told()[EVALUATION]


def test_a_cell_put_in_twice_is_named(tree: Path) -> None:
    _edit(PLAIN, lambda result: result["cells"].append(result["cells"][0]))
    assert _cell(_told()) == ["cells"]


@pytest.mark.parametrize("name", ["glyphs-5w1s-ridge/smoke/seed0", "glyphs-5w1s-protonet/full/seed0", "glyphs-5w1s-protonet/smoke/seed1"])
def test_a_renamed_folder_is_named(tree: Path, name: str) -> None:
    Path("runs", name).parent.mkdir(parents=True, exist_ok=True)
    Path(PLAIN).rename(f"runs/{name}")
    assert _told()[f"runs/{name}"] == ["folder"]


def test_a_renamed_evaluation_is_named(tree: Path) -> None:
    Path(EVALUATION).rename(Path(EVALUATION).with_name("glyphs-test-3w2s"))
    told = _told()[str(Path(EVALUATION).with_name("glyphs-test-3w2s"))]
    assert {"folder", "overrides.learner.batch_norm", "recipe.name"} <= set(told)


def test_a_renamed_change_is_named(tree: Path) -> None:
    folder = next(each for each in results_below(Path("runs")) if "+d" in each.parts[1])
    target = Path("runs/glyphs-5w1s-protonet+00000000/smoke/seed0")
    target.parent.mkdir(parents=True)
    folder.rename(target)
    _edit(str(target), lambda result: result["recipe"].update(name="glyphs-5w1s-protonet+00000000"))
    assert _told()[str(target)] == ["recipe.name", "recipe.name"]  # the checkpoint says otherwise, and so do the overrides


def test_overrides_that_the_name_does_not_say_are_named(tree: Path) -> None:
    _edit(PLAIN, lambda result: result["overrides"].update({"train.steps": 7}))
    assert {"recipe.name", "recipe.train.steps"} <= set(_told()[PLAIN])


def _changed(monkeypatch: pytest.MonkeyPatch, **update: Any) -> None:
    """The registered recipe says something else from now on."""

    def resolve(*arguments: Any, **keywords: Any) -> Resolved:
        now = resolved(*arguments, **keywords)
        return Resolved(now.recipe.model_copy(update=update), now.origins, now.changed)

    monkeypatch.setattr(as_registered, "resolve", resolve)


def test_a_recipe_that_was_changed_since_is_named_by_its_field(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = resolved("glyphs-5w1s-protonet", budget="smoke").recipe.train
    assert train is not None
    _changed(monkeypatch, train=train.model_copy(update={"shots": 3}))
    assert _told(PLAIN) == {PLAIN: ["recipe.train.shots"], EVALUATION: ["recipe.train.shots"]}


def test_changed_notes_are_said_and_are_no_fault(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _changed(monkeypatch, notes=("Another word.",))
    assert _told(PLAIN) == {}
    assert any("recipe.notes" in told for check in verify([Path(PLAIN)]) for told in unchecked(check.findings))


def test_a_published_figure_that_does_not_exist_or_is_of_another_benchmark_is_named(tree: Path) -> None:
    for key in ("glyphs-5w1s-protonet/nobody2000", "omniglot-5w1s-protonet/snell2017"):
        _edit(PLAIN, lambda result, key=key: result["cells"][0].update(published=key))
        assert set(_cell(_told())) == {"published"}


def test_all_faults_of_all_cells_are_told(tree: Path) -> None:
    _edit(PLAIN, lambda result: result["cells"][0].update(estimate=0.5, plan_hash="0" * 64, fingerprint="1" * 64))
    _edit(EVALUATION, lambda result: result["cells"][0]["intervals"]["episodes"].update(lower=0.1))
    told = _told()
    assert {"estimate", "plan_hash", "fingerprint"} <= set(_cell(told))
    assert told[f"{EVALUATION} glyphs-test-3w2s"] == ["intervals.episodes.lower"]


# --- what others wrote


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"schema": 1, "cells": NaN}',
        b'{"schema": 2}',
    ],
)
def test_what_is_no_result_is_a_fault_of_its_folder(tree: Path, content: bytes) -> None:
    (Path(PLAIN) / "result.json").write_bytes(content)
    assert _told()[PLAIN] == ["result.json"]


@pytest.mark.parametrize(
    "change",
    [
        lambda result: result.update(recipe={}),
        lambda result: result.update(recipe={"name": 3}),
        lambda result: result["recipe"].update(budget="../../x"),
        lambda result: result.update(tags={}),
        lambda result: result.update(tags={"transductive": [1]}),
        lambda result: result["cells"][0].update(ways=-1),
        lambda result: result["cells"][0].update(ways=10**9),
        lambda result: result["cells"][0].update(ways=[9, 2]),
        lambda result: result["cells"][0].update(episodes=10**12),
        lambda result: result["cells"][0].update(episodes=-3),
        lambda result: result["cells"][0].update(data="../../../etc"),
        lambda result: result["cells"][0].update(log="../../../../etc/passwd"),
        lambda result: result["cells"][0].update(split="nowhere"),
        lambda result: result.update(checkpoint="../../.."),
        lambda result: result.update(shared={"recipe": "../..", "weights": ""}),
        lambda result: result.update(overrides={"a": {"b": [None]}, "evaluate": 3, "learner.name": 4}),
        lambda result: result["cells"][0].update(
            stopping={"rule": "", "half_width": -1, "n_min": 0, "n_max": 10**15, "every": 0, "episodes": 1, "reason": ""}
        ),
    ],
)
@pytest.mark.parametrize("folder", [PLAIN, EVALUATION])
def test_nonsense_in_a_result_is_a_fault(tree: Path, folder: str, change: Callable[[dict[str, Any]], object]) -> None:
    _edit(folder, change)
    told = _told()
    assert any(name.startswith(folder) for name in told)


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_byte_anywhere_in_a_log_is_no_traceback(tree: Path, seed: int) -> None:
    path = Path(PLAIN) / LOG
    content = bytearray(path.read_bytes())
    for place in np.random.default_rng(seed).integers(0, len(content), 3):
        content[place] ^= 0xFF
    path.write_bytes(content)
    check = next(each for each in verify([Path(PLAIN)]) if each.folder == PLAIN)
    assert isinstance(check, RunCheck)


@pytest.mark.parametrize("section", ["learner", "data", "backbone"])
def test_no_code_that_a_result_names_is_run(tree: Path, section: str) -> None:
    (tree / "evil.py").write_text("from pathlib import Path\nPath('ran').touch()\nclass Evil: pass\n")
    _edit(PLAIN, lambda result: result["recipe"][section].update(name="./evil.py:Evil"))
    assert f"recipe.{section}.name" in _told()[PLAIN]
    assert not (tree / "ran").exists()


def test_nothing_is_fetched_whatever_a_result_asks(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metashot.harness import verification

    asked = []

    def build(component: Any, **keywords: Any) -> None:
        asked.append((component.arguments.get("download"), keywords.get("download")))
        _nothing_at_hand()

    monkeypatch.setattr(verification, "build_stores", build)
    _edit(PLAIN, lambda result: result["recipe"]["data"]["arguments"].update(download=True))
    _told(PLAIN)
    assert asked
    assert set(asked) == {(None, None)}
