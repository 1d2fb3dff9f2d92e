"""Short names of often-used settings: the options of ``frcnn train`` and of ``frcnn.train``."""

SHORT_NAMES = {
    "dataset": "data.dataset",
    "data_dir": "data.dir",
    "year": "data.year",
    "format": "data.format",
    "train_split": "data.train_split",
    "val_split": "data.val_split",
    "on_bad_data": "data.on_bad_data",
    "short_side": "data.short_side",
    "long_side": "data.long_side",
    "batch_size": "data.batch_size",
    "backbone": "model.backbone",
    "weights": "model.weights",
    "recipe": "train.recipe",
    "schedule": "train.schedule",
    "precision": "train.precision",
    "epochs": "train.epochs",
    "steps_per_epoch": "train.steps_per_epoch",
    "seed": "train.seed",
    "lr": "optimizer.learning_rate",
    "optimizer": "optimizer.name",
    "deterministic": "train.deterministic",
    "profile": "log.profile_steps",
}


def some(*names: str) -> dict[str, str]:
    """Return the entries of ``SHORT_NAMES`` with these names, for the options of a command."""
    return {name: SHORT_NAMES[name] for name in names}
