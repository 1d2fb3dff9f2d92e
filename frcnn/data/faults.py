"""What is wrong with a data set: readers collect every fault, then one rule decides.

Someone who repairs a data set of a thousand images wants the whole list at once, not one fault a
run; and whoever would rather train on the rest wants a record of what was left out.
"""

import dataclasses

from frcnn.errors import ConfigError, DataError

LISTED = 20  # faults that an error message lists; the others are counted


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that is wrong with one image or its annotation.

    Attributes:
        image: the image's name, as ``Sample.name`` has it.
        place: the file, and the line or box in it.
        what: what is wrong there.
    """

    image: str
    place: str
    what: str

    def __str__(self):
        return f"{self.place}: {self.what}"


def settle(dataset, faults, on_bad_data):
    """Apply the policy to all faults of a data set.

    Args:
        dataset: its name, for the message.
        faults: list of ``Fault``, in the order in which they are to be listed.
        on_bad_data: ``"error"``: any fault raises; ``"skip"``: the images are left out.

    Returns:
        ((name, reason), ...), one entry an image, for ``Dataset.skipped``.

    Raises:
        DataError: with ``"error"``: the one fault in one line, or the number of faults and the first
            ``LISTED`` of them, a line each.
        ConfigError: the policy is neither of the two.
    """
    if on_bad_data not in ("error", "skip"):
        raise ConfigError(f"on_bad_data is {on_bad_data!r}; expected 'error' or 'skip'")
    reasons = {}
    for fault in faults:
        reasons.setdefault(fault.image, []).append(str(fault))
    if faults and on_bad_data == "error":
        lines = [f"  {fault}" for fault in faults[:LISTED]]
        if len(faults) > LISTED:
            lines.append(f"  and {len(faults) - LISTED} more")
        if len(faults) == 1:
            raise DataError(
                f"{dataset}: {faults[0]}; mend it, or leave the image out with --on-bad-data skip"
            )
        images = f"{len(reasons)} {'image' if len(reasons) == 1 else 'images'}"
        raise DataError(
            f"{dataset}: {len(faults)} faults in {images}; mend them, or leave these images out with "
            "--on-bad-data skip\n" + "\n".join(lines)
        )
    return tuple((image, "; ".join(what)) for image, what in reasons.items())
