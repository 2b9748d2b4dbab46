"""Build learn2learn 0.2.0, and what it needs at import, as wheels for the Python that runs this; install them if asked.

    python benchmarks/learn2learn/build.py [FOLDER] [--install]

Wheels that are in FOLDER already (default: build/learn2learn in the repository) are not built again. Needs a C compiler.
"""

import argparse
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path
from tempfile import TemporaryDirectory

_TOOLS = ("Cython==3.3.1", "setuptools==84.2.1", "wheel==0.48.0")
_LEARN2LEARN = "learn2learn==0.2.0"
_AT_IMPORT = ("cloudpickle==3.1.2", "gym==0.26.2", "gym_notices==0.1.0", "tqdm==4.70.1")  # and requests, which metashot needs too
_DEFAULT = Path(__file__).resolve().parents[2] / "build" / "learn2learn"


def wheels(folder: Path) -> list[Path]:
    """The wheels that this Python needs, if all of them lie in `folder`; otherwise none."""
    tag = f"cp{sysconfig.get_config_var('py_version_nodot')}"
    found = []
    for requirement in (_LEARN2LEARN, *_AT_IMPORT):
        ending = f"{tag}-{tag}-*" if requirement == _LEARN2LEARN else "none-any"
        found += sorted(folder.glob(f"{requirement.replace('==', '-')}-*{ending}.whl"))[:1]
    return found if len(found) == 1 + len(_AT_IMPORT) else []


def build(folder: Path) -> None:
    """Make the wheels in an environment of their own, which is gone afterwards."""
    with TemporaryDirectory() as scratch:
        work = Path(scratch)
        venv.create(work / "tools", with_pip=True)
        python = work / "tools" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        pip = (python, "-m", "pip", "--disable-pip-version-check")
        run(*pip, "install", *_TOOLS)
        run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", work / "wheels", *_AT_IMPORT)
        run(*pip, "download", "--no-deps", "--no-build-isolation", "--no-binary", ":all:", "--dest", work, _LEARN2LEARN)
        (archive,) = work.glob("learn2learn-*.tar.gz")
        with tarfile.open(archive) as members:
            members.extractall(work, filter="data")
        source = archive.with_name(archive.name.removesuffix(".tar.gz"))
        shutil.rmtree(source / "tests")  # would be installed as a package `tests`, in the way of everybody else's
        # The command `build_ext` makes the C files anew from the Cython sources; those that are shipped fit no Python from 3.11 on.
        run(python, "setup.py", "build_ext", "bdist_wheel", "--dist-dir", work / "wheels", cwd=source)
        folder.mkdir(parents=True, exist_ok=True)
        for wheel in (work / "wheels").glob("*.whl"):
            shutil.copy(wheel, folder)


def run(*command: str | Path, cwd: Path | None = None) -> None:
    """Run a command quietly; if it fails, end with what it said last."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout[-4000:]}\nfailed: {' '.join(map(str, command))}")


def main() -> None:
    """Build what is missing, install if asked, and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=_DEFAULT, help="where the wheels go (default: build/learn2learn)")
    parser.add_argument("--install", action="store_true", help="install them, without dependencies, for the Python that runs this")
    arguments = parser.parse_args()
    if not wheels(arguments.folder):
        build(arguments.folder)
    made = wheels(arguments.folder)
    if not made:
        sys.exit(f"{arguments.folder} does not hold the wheels that were to be made; found {sorted(arguments.folder.glob('*.whl'))}.")
    if arguments.install:
        run(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--no-index", *made)
        run(sys.executable, "-c", "import learn2learn")
    for wheel in made:
        print(wheel)


if __name__ == "__main__":
    main()
