"""Whether a learner goes where it is sent: to another dtype (as to another device), and into a checkpoint and back."""

from dataclasses import replace

import torch
from safetensors.torch import load
from torch import Tensor

from ..learners import Learner
from ..training.checkpoints import weights_bytes
from .answer_checks import answer
from .differences import must_agree, must_repeat
from .module_state import outside_state_dict, perturb, plain_tensors
from .promise import BrokenPromiseError, promise, told
from .tasks import Task

_REGISTER = "Register what the learner keeps: self.register_buffer(name, tensor), or nn.Parameter."


@promise("after .double() everything is float64, as after .to('cuda') everything would be on the GPU")
def check_dtype_follows(learner: Learner, task: Task) -> None:
    """A learner that is float64 already goes to float32."""
    dtype = torch.float32 if task.dtype == torch.float64 else torch.float64
    learner.to(dtype)
    left = [f"{name} ({tensor.dtype})" for name, tensor in plain_tensors(learner).items() if _stays(tensor, dtype)]
    if left:
        raise BrokenPromiseError(f"the plain attribute {', '.join(left)} stayed behind. {_REGISTER}")
    moved = replace(task, dtype=dtype)
    batch = moved.batch([0, 1])
    try:
        found = {"adapt": answer(learner, moved()), "predict": learner.predict(batch.support, batch.query.x, batch.ways)}
    except BrokenPromiseError:
        raise
    except Exception as error:
        raise BrokenPromiseError(
            f"on items of {dtype}: {told(error, moved)} Make tensors with the dtype and device of support.x. {_REGISTER}"
        ) from error
    for what, logits in found.items():
        if logits.dtype != dtype:
            raise BrokenPromiseError(
                f"the logits of {what} are {logits.dtype}, not {dtype}; make tensors with the dtype and device of support.x. {_REGISTER}"
            )


@promise("saved, changed and loaded again, it answers as before")
def check_state_dict_round_trip(learner: Learner, task: Task) -> None:
    """Saved as checkpoints are; then every tensor that the learner holds is changed, whether `state_dict` carries it or not."""
    episode = task()
    before = answer(learner, episode).clone()
    must_repeat(answer(learner, episode), before)
    saved = weights_bytes(learner)
    outside = ", ".join(f"{name} ({what})" for name, what in outside_state_dict(learner).items())
    advice = (f"Not in its state_dict: {outside}. " if outside else "") + _REGISTER
    perturb(learner)
    learner.load_state_dict(load(saved))
    try:
        after = answer(learner, episode)
    except Exception as error:
        raise BrokenPromiseError(f"after loading, {told(error, task)} {advice}") from error
    must_agree(after, before, otherwise=f"loading its own state_dict did not bring back its answers. {advice}")


def _stays(tensor: Tensor, dtype: torch.dtype) -> bool:
    return tensor.is_floating_point() and tensor.dtype != dtype
