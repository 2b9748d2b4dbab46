"""Classification heads on features, one for each episode of a batch, and where they start."""

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor

from ..seeding import generator
from .prototypes import prototypes

_NORM_EPS = 1e-12  # a feature of zeros has no direction and gets logits of zero


def linear_head(features: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Logits z·w_k + b_k.

    Args:
        features: (B, n, d).
        weight: (B, ways, d).
        bias: (B, ways); None is zero.

    Returns:
        (B, n, ways).
    """
    logits = features @ weight.transpose(1, 2)
    return logits if bias is None else logits + bias[:, None]


def cosine_head(features: Tensor, direction: Tensor, norm: Tensor | None = None, *, scale: Tensor | float = 1.0) -> Tensor:
    """Logits scale · g_k · cos(z, v_k): unit features on a weight-normalised linear layer without bias.

    Args:
        features: (B, n, d).
        direction: (B, ways, d), v_k; its length does not matter.
        norm: (B, ways), the g_k; None is one, a pure cosine.
        scale: one number for all classes, or a tensor that broadcasts to (B, n, ways).

    Returns:
        (B, n, ways).

    Reference: Chen et al. 2019, "A Closer Look at Few-shot Classification", arXiv:1904.04232, section 3.2; weight normalisation:
    Salimans and Kingma 2016, arXiv:1602.07868, equation 2.
    """
    logits = _unit(features) @ _unit(direction).transpose(1, 2)  # (B, n, ways)
    if norm is not None:
        logits = logits * norm[:, None]
    return logits * scale


def random_linear(
    seeds: Sequence[int] | Tensor, inputs: int, outputs: int, *, like: Tensor, purpose: str = "head", index: int = 0
) -> tuple[Tensor, Tensor]:
    """Linear layers that start as `torch.nn.Linear` does: weights and biases uniform within ±1/√inputs, drawn for each episode by itself.

    Args:
        seeds: (B,), the episodes' seeds (`support.seed`).
        inputs: d.
        outputs: classes, or units of a hidden layer.
        like: gives dtype and device; the draws are made in float64 on the CPU, so they do not depend on either.
        purpose: of the draws.
        index: which draw of that purpose, for example the layer.

    Returns:
        Weights (B, outputs, inputs) and biases (B, outputs).
    """
    bound = 1 / sqrt(inputs)
    drawn = torch.stack(
        [torch.rand(outputs, inputs + 1, generator=generator(int(seed), purpose, index), dtype=torch.float64) for seed in seeds]
    )  # (B, outputs, inputs + 1)
    both = ((2 * drawn - 1) * bound).to(device=like.device, dtype=like.dtype)
    return both[..., :-1].contiguous(), both[..., -1].contiguous()


def prototype_linear(features: Tensor, labels: Tensor, ways: int) -> tuple[Tensor, Tensor]:
    """The linear head that classifies by squared Euclidean distance to class means: weights 2c_k, biases -|c_k|².

    Its softmax is that of -|z - c_k|², since the |z|² in it is the same for every class.

    Args:
        features: (B, s, d).
        labels: (B, s).
        ways: number of classes.

    Returns:
        Weights (B, ways, d) and biases (B, ways).

    Reference: Snell et al. 2017, arXiv:1703.05175, equation 8; as a start of fine-tuning: Triantafillou et al. 2020, arXiv:1903.03096,
    section 3 (Proto-MAML).
    """
    means = prototypes(features, labels, ways)
    return 2 * means, -means.square().sum(-1)


def prototype_directions(features: Tensor, labels: Tensor, ways: int) -> Tensor:
    """The directions (B, ways, d) of a cosine head that starts at the class means of unit features (B, s, d), labelled (B, s); of length 1.

    Reference: Gidaris and Komodakis 2018, arXiv:1804.09458, equation 6; Dhillon et al. 2020, arXiv:1909.02729, section 3.1.
    """
    return _unit(prototypes(_unit(features), labels, ways))


def _unit(vectors: Tensor) -> Tensor:
    unit: Tensor = torch.nn.functional.normalize(vectors, dim=-1, eps=_NORM_EPS)
    return unit
