"""What a resolved recipe holds: frozen values, strict types, two forms.

The *model form* is what results keep (`Recipe.to_dict`, `Recipe.from_dict`): a component is `{name, arguments}`. The *file form* is
what TOML files and dotted keys use (`Recipe.to_tables`, `model_form`): the arguments stand beside the name.
"""

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    PlainValidator,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ..errors import RecipeError

STAGES = ("pretrain", "train")  # the sections that train, in their order
EXPECTS = "expects"  # type of a fault of one field: its message completes "<key> expects ..."
SENTENCE = "sentence"  # type of a fault between fields: its message is a whole sentence


def _count_or_range(least: int) -> Callable[[Any], int | tuple[int, int]]:
    """The validator of a whole number of at least `least`, or of a range [low, high] of two such numbers."""

    def is_count(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= least

    def check(value: Any) -> int | tuple[int, int]:
        if is_count(value):
            return int(value)
        if isinstance(value, list | tuple) and len(value) == 2 and all(map(is_count, value)) and value[0] <= value[1]:
            return int(value[0]), int(value[1])
        raise PydanticCustomError(
            EXPECTS, "a whole number of at least {least}, or a range [low, high] of two such numbers", {"least": least}
        )

    return check


def _as_json(value: int | tuple[int, int]) -> int | list[int]:
    return value if isinstance(value, int) else list(value)


_AsJson = PlainSerializer(_as_json, when_used="json")
Ways = Annotated[int | tuple[int, int], PlainValidator(_count_or_range(2)), _AsJson]
PerClass = Annotated[int | tuple[int, int], PlainValidator(_count_or_range(1)), _AsJson]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(min_length=1)]


class _Value(BaseModel):
    """Base of all recipe values: frozen, no unknown key, no conversion ("5" is not 5), no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Component(_Value):
    """A data set, backbone or learner: its name in the registry and its keyword arguments."""

    name: Name
    arguments: dict[str, JsonValue] = Field(default_factory=dict)


class Optimiser(_Value):
    """An optimiser with its learning rate; `arguments` are its other keyword arguments (momentum, weight_decay, betas, ...)."""

    name: Literal["adam", "sgd"] = "adam"
    lr: float = Field(gt=0)
    arguments: dict[str, JsonValue] = Field(default_factory=dict)


class Schedule(_Value):
    """How the learning rate moves: `constant`; `step`, which gives lr * factor ** (step // every); `linear` or `cosine`.

    The last two go from lr to lr * `end` (None is 0) over the whole length of the stage, so that a budget which shortens the stage
    shortens them.
    """

    name: Literal["constant", "step", "linear", "cosine"] = "constant"
    every: Count | None = None
    factor: Annotated[float, Field(gt=0)] | None = None
    end: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        own = {"step": ("every", "factor"), "linear": ("end",), "cosine": ("end",)}.get(self.name, ())
        given = {"every": self.every, "factor": self.factor, "end": self.end}
        missing = " and ".join(key for key in own if given[key] is None and key != "end")
        spare = [key for key, value in given.items() if value is not None and key not in own]
        if missing:
            raise PydanticCustomError(SENTENCE, "a {name} schedule needs {keys}", {"name": self.name, "keys": missing})
        if spare:
            meant = "linear" if spare == ["end"] else "step"
            told = {"name": self.name, "keys": " and ".join(spare), "meant": meant}
            raise PydanticCustomError(SENTENCE, 'a {name} schedule takes no {keys}; did you mean name = "{meant}"', told)
        return self

    @model_serializer(mode="wrap")
    def _without_end(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without an `end` that is None: schedules saved before there was one are the same as those saved since."""
        values: dict[str, Any] = dump(self)
        return {key: value for key, value in values.items() if key != "end" or value is not None}


class Pretrain(_Value):
    """Supervised training of the backbone on all training classes at once, under a head that is thrown away.

    `steps` ends it earlier than `epochs` would. `schedule` counts epochs. `outputs` None is as many as there are classes. `augment`
    lists random changes of the images, in their order. `precision` is that of forward passes.
    """

    epochs: Count
    steps: Count | None = None
    batch: Count
    optimiser: Optimiser
    schedule: Schedule = Schedule()
    head: Literal["linear", "cosine"] = "linear"
    outputs: Count | None = None
    augment: tuple[Literal["crop", "jitter", "flip", "shift", "zoom"], ...] = ()
    precision: Literal["float32", "bfloat16"] = "float32"


class Train(_Value):
    """Episodic training: shape of the episodes, length, optimiser, and how the final weights are chosen.

    `ways`, `shots` and `queries` (per class) may be ranges [low, high]. `micro_batch` None is the whole meta-batch. `patience` counts
    validations without a better value before training stops; None is never. `retrain` trains anew, after the selection, on the classes
    of training and validation for the selected number of steps, and keeps the last weights.
    """

    ways: Ways
    shots: PerClass
    queries: PerClass
    steps: Count
    meta_batch: Count = 1
    micro_batch: Count | None = None
    optimiser: Optimiser
    schedule: Schedule = Schedule()
    validate_every: Count
    validate_episodes: Count
    select: Literal["loss", "accuracy", "last"]
    patience: Count | None = None
    retrain: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.micro_batch is not None and self.micro_batch > self.meta_batch:
            sizes = {"micro": self.micro_batch, "meta": self.meta_batch}
            raise PydanticCustomError(
                SENTENCE, "micro_batch = {micro} is larger than meta_batch = {meta}; leave it out for the whole meta-batch", sizes
            )
        if self.micro_batch is not None and self.meta_batch % self.micro_batch:
            sizes = {"micro": self.micro_batch, "meta": self.meta_batch}
            raise PydanticCustomError(SENTENCE, "micro_batch = {micro} does not divide meta_batch = {meta}; take a divisor", sizes)
        if self.patience is not None and self.select == "last":
            raise PydanticCustomError(
                SENTENCE, 'patience needs select = "loss" or "accuracy"; with "last" no validation is better than another'
            )
        return self


class Cell(_Value):
    """One cell of a table: the episodes to evaluate on, and the key of the published figure to show beside the result."""

    ways: Ways
    shots: PerClass
    queries: PerClass
    episodes: Count
    seed: int = 0
    split: Literal["train", "val", "test"] = "test"
    published: Name | None = None


class Recipe(_Value):
    """A recipe with nothing left open: what is trained on what, how, and which cells it fills.

    `pretrain` is None where the backbone is not trained by itself, `train` where no episodes are trained on. `share` is another recipe,
    whose trained backbone this one starts from or, without `train`, uses as it is. `notes` say where the protocol departs from its paper;
    they are shown with every result. `budget` is `full`, `cpu` or `smoke`.
    """

    format: Literal[1] = Field(default=1, alias="schema")
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
    benchmark: Name
    data: Component
    backbone: Component
    learner: Component
    share: Name | None = None
    pretrain: Pretrain | None = None
    train: Train | None = None
    evaluate: tuple[Cell, ...] = Field(min_length=1)
    budget: Name
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.share is not None and self.pretrain is not None:
            raise PydanticCustomError(SENTENCE, "share takes the backbone of another recipe, so there is nothing to pretrain; keep one")
        seen: dict[tuple[object, ...], int] = {}
        for index, cell in enumerate(self.evaluate):
            first = seen.setdefault((cell.split, cell.ways, cell.shots), index)
            if first != index:
                where = {"first": first, "second": index}
                raise PydanticCustomError(
                    SENTENCE, "evaluate.{first} and evaluate.{second} are the same split, ways and shots; keep one", where
                )
        return self

    @property
    def row(self) -> str:
        """The last part of the name: the row of a table that this recipe fills, for example `protonet`."""
        return self.name.removeprefix(f"{self.benchmark}-")

    def to_dict(self) -> dict[str, Any]:
        """The recipe in model form, JSON-valued; `from_dict` gives it back."""
        return self.model_dump(mode="json", by_alias=True)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """The recipe that `to_dict` gave.

        Raises:
            RecipeError: naming every fault.
        """
        from .recipe_faults import told  # here, since the messages are made from the models above

        try:
            return cls.model_validate_json(json.dumps(value))
        except (TypeError, ValueError) as error:
            if not isinstance(error, ValidationError):
                raise RecipeError(f"A saved recipe is not JSON: {error}.") from None
            raise told("saved recipe", error) from None

    def to_tables(self) -> dict[str, Any]:
        """The settings in file form: `data`, `backbone`, `learner`, `share`, `pretrain` and `train` (left out when None) and `evaluate`."""
        dumped = self.to_dict()
        tables: dict[str, Any] = {section: _flat(dumped[section]) for section in ("data", "backbone", "learner")}
        if self.share is not None:
            tables["share"] = self.share
        for stage in STAGES:
            if dumped[stage] is not None:
                tables[stage] = {**dumped[stage], "optimiser": _flat(dumped[stage]["optimiser"])}
        return {**tables, "evaluate": dumped["evaluate"]}


def model_form(section: str, value: Any) -> Any:
    """The model form of one section in file form; what is not a table is left for the models to refuse."""
    if not isinstance(value, Mapping):
        return value
    if section in ("data", "backbone", "learner"):
        return _folded(value, ("name",))
    if section in STAGES and isinstance(value.get("optimiser"), Mapping):
        return {**value, "optimiser": _folded(value["optimiser"], ("name", "lr"))}
    return value


def _flat(component: Mapping[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in component.items() if key != "arguments"}
    return {**own, **component["arguments"]}


def _folded(table: Mapping[str, Any], own: tuple[str, ...]) -> dict[str, Any]:
    known = {key: value for key, value in table.items() if key in own}
    return {**known, "arguments": {key: value for key, value in table.items() if key not in own}}
