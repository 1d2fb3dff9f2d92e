"""What error messages share: names that are near, and lists that are cut short."""

import difflib

NEAR = 0.7  # difflib's ratio, from which on two names are taken for one with a typing error


def nearest(name, known, cutoff=NEAR):
    """Return the one of ``known`` that ``name`` was probably meant to be, None where none is near."""
    by_folded = {other.casefold(): other for other in known}
    near = difflib.get_close_matches(name[:100].casefold(), by_folded, n=1, cutoff=cutoff)
    return by_folded[near[0]] if near else None


def did_you_mean(name, known, cutoff=NEAR):
    """Return ``", did you mean 'car'?"``, or an empty text where no known name is near."""
    near = nearest(name, known, cutoff)
    return f", did you mean {near!r}?" if near else ""


def listed(names, most=8):
    """Return names in one line: all, or of more than ``most`` the first three and how many there are."""
    names = list(names)
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:3])}, ... ({len(names)} in all)"
