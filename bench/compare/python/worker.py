"""The other end of ../worker-system.ts: a line of JSON for each request, in order."""

import json
import sys
import time


class Missing(Exception):
    """Why the worker cannot be used here; the comparison goes on without it."""


def serve(load):
    """`load()` makes an object with versions, vocabSize, layers, and the methods that are asked for. A failure ends the program."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no answer

    def say(answer):
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        worker = load()
        say({"versions": worker.versions, "vocabSize": worker.vocab_size, "layers": worker.layers})
        for line in sys.stdin:
            request = json.loads(line)
            what = request.pop("do")
            if what == "cpu":
                say({"seconds": time.process_time()})
            elif what in ("check", "open", "fill", "refill", "decode"):
                say(getattr(worker, what)(**request))
            else:
                raise ValueError(f"unknown request {what}")
    except Missing as reason:
        say({"missing": str(reason)})
    except Exception as error:
        say({"error": f"{type(error).__name__}: {error}"})
        raise SystemExit(1) from error


def load_packages(*names):
    """The modules, or Missing with the command that installs them all in the versions that are tried."""
    from importlib import import_module
    from pathlib import Path

    try:
        return [import_module(name) for name in names]
    except ImportError as error:
        requirements = Path(__file__).with_name("requirements.txt")
        command = f"{sys.executable} -m pip install -r {requirements}"
        raise Missing(f"{sys.executable} cannot import what it needs ({error}); get it with: {command}") from error
