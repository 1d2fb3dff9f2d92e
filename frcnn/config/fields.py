"""Parts of ``frcnn.config.sections``: a setting's field, kinds of values with bounds, base classes."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from frcnn.config import class_names
from frcnn.config.values import NUMBER, WHOLE_LIMIT, List, Text

LARGEST = 1e6  # pixels and factors: beyond it float32 has no fractions to speak of
UNBOUNDED = WHOLE_LIMIT - 1

# Bounds stand before NUMBER: only there does pydantic put them into the JSON schema by their names.
Pixels = Annotated[float, Field(gt=0, le=LARGEST), NUMBER]
Ratio = Annotated[float, Field(gt=0, le=1e4), NUMBER]
Share = Annotated[float, Field(ge=0, le=1), NUMBER]
Factor = Annotated[float, Field(ge=0, le=LARGEST), NUMBER]
PositiveFactor = Annotated[float, Field(gt=0, le=LARGEST), NUMBER]
ClassNames = Annotated[List[Text], AfterValidator(class_names.clean_all)]


def _check_renames(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not all(part.strip() for part in value.partition("=")):
            raise ValueError(f"{value!r} is not of the form OLD=NEW")
    return values


Renames = Annotated[List[Text], AfterValidator(_check_renames)]


def setting(default: Any, meaning: str, **bounds: Any) -> Any:
    """Return the field of a setting.

    Args:
        default: its value unless something else is asked for.
        meaning: its line in ``docs/settings.md``, with the unit.
        bounds: what pydantic's ``Field`` takes: ge, gt, le, lt; min_length and max_length of a list.
    """
    return Field(default, description=meaning, **bounds)


class Settings(BaseModel):
    """A group of settings. They cannot be changed, and unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Section(Settings):
    """Settings that belong together; ``replace`` makes a copy with other values."""

    def replace(self, **values: Any) -> Self:
        """Return a copy with some values changed and checked."""
        return type(self)(**{**dict(self), **values})
