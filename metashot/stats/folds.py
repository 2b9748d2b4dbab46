"""Method `folds`: intervals over new images that need no theory, from episodes that stay within disjoint blocks of the images.

Every class's images are cut into G blocks; episode i uses images of block `i mod G` only. The means of the G blocks are independent given
the classes, for any learner, transductive ones included. `metashot.episodes.fold_plan` draws such episodes.
"""

import numpy as np

from .records import Records


def fold_means(records: Records, folds: int) -> tuple[np.ndarray, str]:
    """The mean score of each fold (G,), and why there are none; empty if there are.

    Args:
        records: of episodes of which the i-th of the stream belongs to fold `i mod folds`.
        folds: G, at least 2.
    """
    fold = records.index % folds
    counts = np.bincount(fold, minlength=folds)
    if records.fault:
        return np.full(folds, np.nan), records.fault
    if (counts == 0).any():
        return np.full(folds, np.nan), f"{len(records)} episodes do not reach all {folds} folds"
    for images in (records.support, records.query):
        if not images.size or not (images >= 0).any():
            return np.full(folds, np.nan), "the log does not say which images the support sets were of"
    parts = [
        (images[images >= 0], np.broadcast_to(fold[:, None, None], images.shape)[images >= 0])
        for images in (records.support, records.query)
    ]
    image, of = (np.concatenate(part) for part in zip(*parts, strict=True))
    owner = np.full(int(image.max()) + 1, -1)
    owner[image] = of
    if (owner[image] != of).any():
        return np.full(folds, np.nan), f"the episodes were not drawn in {folds} folds: folds share images; draw them with fold_plan"
    return np.bincount(fold, weights=records.accuracies, minlength=folds) / counts, ""
