"""The section ``box``: the kind of boxes."""

from __future__ import annotations

from typing import Literal

from frcnn.config.fields import Section, setting


class BoxConfig(Section):
    """The kind of boxes."""

    kind: Literal["axis_aligned", "oriented"] = setting(
        "axis_aligned",
        "axis_aligned: x1, y1, x2, y2 (Ren et al. 2015); oriented: centre, sides and angle, for labels "
        "with angles (Xie et al. 2021)",
    )
