"""The result of a check as a Markdown table, which is printed and written beside the file."""

from __future__ import annotations

from frcnn.export.check import MAX_BOX_ERROR, MAX_SCORE_ERROR, Report


def table(report: Report, name: str) -> str:
    """Return the table, and below it the disagreements.

    Args:
        report: result of the check.
        name: name of the file.
    """
    description, agreement = report.description, report.agreement
    fixed = description.height is not None
    size = f"{description.height}x{description.width}" if fixed else "any height, width and batch"
    if description.resizes:
        size = f"images of any size, resized inside to {size if fixed else 'what the settings say'}"
    rows = [
        ("format", f"{report.file_format.title}, {description.weights} weights"),
        ("input", f"{description.dtype}, {size}"),
        ("size", f"{report.megabytes:.1f} MB"),
        (
            f"seconds per call, {'x'.join(map(str, report.input_shape))}, median",
            f"{report.latency:.3f} (Keras: {report.keras_latency:.3f})",
        ),
        (
            f"detections within {MAX_BOX_ERROR} px and {MAX_SCORE_ERROR:g} of score",
            f"{agreement.detections - agreement.strays} of {agreement.detections} "
            f"on {agreement.images} images",
        ),
        (
            "largest difference among these",
            f"{agreement.box_error:.2g} px, {agreement.score_error:.1g} of score",
        ),
    ]
    if report.pixel_error is not None:
        rows.append(("largest difference of resized pixels", f"{report.pixel_error:.2g} of 255"))
    if report.ap is None:
        rows.append(("AP", "not measured: no labels"))
    else:
        ap, same, own = (f"{100 * value:.2f}" for value in report.ap)
        text = f"{ap} (Keras: {same}" + (f"; at its own input sizes: {own})" if fixed else ")")
        rows.append((f"AP on {report.ap_images} images", text))
    rows.insert(0, (name, ""))
    width = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"| {left:<{width[0]}} | {right:<{width[1]}} |" for left, right in rows]
    lines.insert(1, "|" + "|".join("-" * (count + 2) for count in width) + "|")
    faults = report.faults()
    verdict = (
        ["", *(f"NOT ACCEPTED: {fault}" for fault in faults)] if faults else ["", "The file agrees."]
    )
    return "\n".join([*lines, *verdict])
