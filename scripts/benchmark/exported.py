"""Exported files beside our Keras detector and torchvision's: seconds from an image to its boxes.

The weights are random, and the bias of background is such that few RoIs are objects.
"""

import json

from benchmark import compare
from frcnn.errors import ConfigError


def measure(options, spec, our_worker, peer_backbones, root):
    """Run all sides in turn, and print a table.

    Args:
        options: options of the script.
        spec: specification of the Keras detector's worker.
        our_worker: function from a specification to one of our workers.
        peer_backbones: the backbones that the peer has.
        root: folder of the checkout.
    """
    if options.peer and options.set:
        raise ConfigError("--set changes our side only: leave it out, or --peer")
    if options.peer and options.backbone not in peer_backbones:
        raise ConfigError(f"--peer has {', '.join(peer_backbones)}, not {options.backbone}")
    workers = {"Keras": our_worker(spec)}
    for name in options.formats:
        workers[name] = our_worker(spec | {"what": "exported", "format": name})
    if options.peer:
        command = [options.peer_python, "-m", "benchmark.torchvision_worker"]
        formats = [json.dumps(spec | {"channels_last": flag}) for flag in (False, True)]
        peers = [compare.Worker([*command, text], compare.environment(root)) for text in formats]
        workers[options.peer] = compare.fastest(peers)  # the better of its memory formats
    compare.alternate(list(workers.values()), options.rounds, options.times)
    figures = {"spec": spec, "sides": {}}
    keras = workers["Keras"].result()
    print(
        f"{options.backbone}, {spec['height']}x{spec['width']}; seconds per image, median and quartiles"
    )
    for name, worker in workers.items():
        result = worker.result()
        figures["sides"][name] = result.as_json()
        print(
            f"{name:12} {result.median_s:7.3f}  ({result.low_s:.3f} to {result.high_s:.3f}), "
            f"{keras.median_s / result.median_s:5.2f} times as fast as Keras"
        )
        worker.close()
    return figures
