"""What the command lines share: how an error that a person can mend is shown."""

import contextlib
import os
import sys
import tempfile

from frcnn.errors import FrcnnError


@contextlib.contextmanager
def quiet_import():
    """Keep what is written to stderr within this context to itself, unless an exception leaves it.

    TensorFlow's libraries greet there before they look at any setting; an error that is one line
    should not have to be looked for among six others.
    """
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(shown, kept.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(shown, 2)
            os.close(shown)


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
