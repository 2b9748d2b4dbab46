"""`metashot show`."""

from pathlib import Path

from ..errors import RecipeError, unknown_name
from .data import Download, Root, Settings, data_component


def show(
    dataset: str,
    /,
    *,
    ways: int = 5,
    shots: int = 1,
    queries: int = 5,
    split: str = "test",
    seed: int = 0,
    episode: int = 0,
    set_: Settings = (),
    data_root: Root = None,
    download: Download = False,
    out: Path = Path("episode.png"),
) -> None:
    """Draw an episode: support left, queries right, a row for each class. Prints the name of the PNG file, which replaces an old one.

    It is the episode that training and evaluation draw with the same seed. Needs matplotlib: pip install 'metashot[plots]'.

    Parameters
    ----------
    dataset
        A registered name, package.module:factory or path/to/file.py:factory.
    ways
        Classes in the episode.
    shots
        Support images of each class.
    queries
        Query images of each class; may be 0.
    split
        Which classes.
    seed
        Of the episode stream.
    episode
        Which episode of the stream, from 0.
    set_
        One of the data set's arguments, for example --set size=32; may be repeated.
    data_root
        The data set's own folder, or the folder of all raw data sets; METASHOT_DATA if not given.
    download
        Fetch raw data that is not at hand, where a public source exists.
    out
        The picture's file.
    """
    for name, value, least in [("ways", ways, 1), ("shots", shots, 1), ("queries", queries, 0), ("episode", episode, 0)]:
        if value < least:
            raise RecipeError(f"--{name} must be at least {least}; got {value}.")
    if out.suffix.lower() != ".png":
        raise RecipeError(f"--out: the picture is a PNG file; call it {out.with_suffix('.png')} instead of {out}.")
    component = data_component(dataset, set_)
    from ..plots import check_matplotlib, draw_episode, png

    check_matplotlib()
    from ..atomic import check_writable, write_file

    check_writable(out.parent)  # before anything slow is done
    from ..episodes import EpisodeSampler, EpisodeSpec
    from ..harness.build import build_stores

    stores = build_stores(component, root=data_root, download=download)
    if split not in stores:
        raise unknown_name(f"split of {dataset}", split, stores)
    store = stores[split]
    sampler = EpisodeSampler(store.labels, EpisodeSpec(ways, shots, queries), seed=seed, groups=store.episode_groups)
    figure = draw_episode(store, sampler.plan(episode, 1), title=f"{dataset}, {split}: episode {episode} of seed {seed}")
    write_file(out, png(figure))
    print(out)
