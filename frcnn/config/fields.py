"""Parts for ``frcnn.config.sections``: the field of a setting, types with bounds, base classes."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from frcnn.config import class_names
from frcnn.config.values import NUMBER, WHOLE, WHOLE_LIMIT, List, Text
from frcnn.errors import ConfigError

LARGEST = 1e6  # limit of pixels and factors: float32 has hardly any fractions beyond it
UNBOUNDED = WHOLE_LIMIT - 1

# Bounds are before NUMBER, because only then pydantic puts them into the JSON schema.
Pixels = Annotated[float, Field(gt=0, le=LARGEST), NUMBER]
Ratio = Annotated[float, Field(gt=0, le=1e4), NUMBER]
Side = Annotated[int, Field(ge=1, le=2**14), WHOLE]
Share = Annotated[float, Field(ge=0, le=1), NUMBER]
Factor = Annotated[float, Field(ge=0, le=LARGEST), NUMBER]
PositiveFactor = Annotated[float, Field(gt=0, le=LARGEST), NUMBER]
ClassNames = Annotated[List[Text], AfterValidator(class_names.clean_all)]


def _check_renames(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not all(part.strip() for part in value.partition("=")):
            raise ConfigError(f"{value!r} is not of the form OLD=NEW")
    return values


Renames = Annotated[List[Text], AfterValidator(_check_renames)]


def setting(default: Any, meaning: str, **bounds: Any) -> Any:
    """Return the field of a setting.

    Args:
        default: default value.
        meaning: its text in ``docs/settings.md``, with the unit.
        bounds: arguments of pydantic's ``Field``: ge, gt, le, lt; for a list min_length and max_length.
    """
    return Field(default, description=meaning, **bounds)


class Settings(BaseModel):
    """A group of settings. It is frozen, and unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Section(Settings):
    """Settings that belong together; ``replace`` makes a copy with other values."""

    def replace(self, **values: Any) -> Self:
        """Return a copy with other values for some settings. They are checked."""
        return type(self)(**{**dict(self), **values})
