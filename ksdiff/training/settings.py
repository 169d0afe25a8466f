"""Checks of a config before training starts: values that fit each other."""

from ksdiff.config import Config
from ksdiff.errors import KSDiffError

_SCHEDULES = ("cosine", "linear", "constant")
_POSITIVE = ("batch", "accumulate", "checkpoint_every", "learning_rate")
_NOT_NEGATIVE = (
    "steps_stage1",
    "steps_stage2",
    "workers",
    "early_stopping",
    "validate_every",
    "warmup",
)


def check_settings(config: Config) -> None:
    """Raise KSDiffError for the first key whose value cannot work, saying what can."""
    data, model, training = config.data, config.model, config.training
    for keys, least in ((_POSITIVE, "above 0"), (_NOT_NEGATIVE, "0 or more")):
        for key in keys:
            value = getattr(training, key)
            if value < 0 or (value == 0 and keys is _POSITIVE):
                raise KSDiffError(f"training.{key}: expected a number {least}, got {value}")
    if training.schedule not in _SCHEDULES:
        raise KSDiffError(
            f"training.schedule: expected one of {', '.join(_SCHEDULES)}, got {training.schedule!r}"
        )
    if training.early_stopping and not training.validate_every:
        raise KSDiffError(
            "training.early_stopping: without validation (training.validate_every 0) there is "
            "nothing to judge by; set one of the two"
        )
    step = 8 if model.ratio == "any" else max(8, model.ratio)
    if data.crop < 32 or data.crop % step:
        raise KSDiffError(
            f"data.crop: expected a multiple of {step} of at least 32 PAN pixels, got {data.crop}"
        )
    if not 0 <= 2 * data.margin < data.crop:
        raise KSDiffError(
            f"data.margin: {data.margin} pixels on each side leave nothing of a crop of "
            f"{data.crop}; choose less than half of data.crop"
        )
    prior = model.prior
    if round(prior.tokens**0.5) ** 2 != prior.tokens:
        raise KSDiffError(f"model.prior.tokens: expected a square number, got {prior.tokens}")
    if len(model.widths) != len(model.depths):
        raise KSDiffError(
            f"model.depths: expected one for each of model.widths {list(model.widths)}, "
            f"got {list(model.depths)}"
        )
    if not 1 <= model.diffusion.sampling_steps <= model.diffusion.steps:
        raise KSDiffError(
            f"model.diffusion.sampling_steps: expected 1 to {model.diffusion.steps} "
            f"(model.diffusion.steps), got {model.diffusion.sampling_steps}"
        )
    if prior.source == "none" and not training.joint:
        raise KSDiffError(
            "training.joint: without a prior (model.prior.source none) false leaves nothing to "
            "train in stage 2; set it to true"
        )
