"""Conformance: whether something is a metashot learner, as checks that anyone can run."""

from .answer_checks import check_batched_equals_loop as check_batched_equals_loop
from .answer_checks import check_cached_equals_uncached as check_cached_equals_uncached
from .answer_checks import check_episodes_independent as check_episodes_independent
from .answer_checks import check_logits as check_logits
from .answer_checks import check_no_grad as check_no_grad
from .answer_checks import check_repeatable as check_repeatable
from .backbone import TinyBackbone as TinyBackbone
from .backbone import tiny_backbone as tiny_backbone
from .conformance import CHECKS as CHECKS
from .conformance import CheckResult as CheckResult
from .conformance import check_learner as check_learner
from .conformance import parametrize_with_checks as parametrize_with_checks
from .portability_checks import check_dtype_follows as check_dtype_follows
from .portability_checks import check_state_dict_round_trip as check_state_dict_round_trip
from .promise import Check as Check
from .purity_checks import check_inputs_untouched as check_inputs_untouched
from .purity_checks import check_rng_untouched as check_rng_untouched
from .purity_checks import check_state_untouched as check_state_untouched
from .symmetry_checks import check_label_symmetry as check_label_symmetry
from .symmetry_checks import check_queries_independent as check_queries_independent
from .symmetry_checks import check_support_order as check_support_order
from .tag_checks import check_tags as check_tags
from .tasks import Episode as Episode
from .tasks import Task as Task
from .training_checks import check_learns as check_learns
from .training_checks import check_meta_loss as check_meta_loss
