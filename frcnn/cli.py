"""What the command lines share: how an error that a person can mend is shown."""

import sys

from frcnn.errors import FrcnnError


def run(main):
    """Call ``main()`` and end the process with its status.

    An ``FrcnnError`` becomes one line on stderr and exit status 2; an interrupt, 130. Anything else
    is a bug and keeps its traceback.
    """
    try:
        status = main()
    except FrcnnError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)
