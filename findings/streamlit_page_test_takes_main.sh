#!/usr/bin/env bash
# Guess: streamlit's AppTest runs a page inside a test and leaves the process as it was.
# Behaviour (streamlit 1.67.0): the page's module stands in sys.modules["__main__"] from then on, with the temporary
# script of AppTest as its file. Pools of processes that are spawned later, by other tests of the same process, run that
# script in each worker, where the arguments of AppTest.from_function are not defined: the pool is broken, and nothing
# says that a page was its cause. Giving __main__ back after the test is enough.
# Seen: "before: 9", "main is the page: True", "after: BrokenProcessPool", "given back: 9"; the worker says that the name
# __args is not defined.
# Source: streamlit/runtime/scriptrunner/script_runner.py, which puts a fake module into the place of __main__;
# multiprocessing/spawn.py, which runs the file of __main__ in each child.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --disable-pip-version-check -q streamlit==1.67.0
cat > "$folder/pages.py" <<'PYTHON'
import concurrent.futures
import multiprocessing
import sys

from streamlit.testing.v1 import AppTest


def page(word):
    import streamlit

    streamlit.markdown(word)


def squared():
    """Asks a spawned process for 9."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        try:
            return pool.submit(pow, 3, 2).result()
        except concurrent.futures.process.BrokenProcessPool as error:
            return type(error).__name__


if __name__ == "__main__":
    main = sys.modules["__main__"]
    print("before:", squared())
    [shown] = AppTest.from_function(page, kwargs={"word": "hello"}, default_timeout=60).run().markdown
    assert shown.value == "hello"
    print("main is the page:", sys.modules["__main__"] is not main)
    print("after:", squared())
    sys.modules["__main__"] = main
    print("given back:", squared())
PYTHON
(cd "$folder" && venv/bin/python pages.py 2> errors.txt | tee output.txt)
printf 'before: 9\nmain is the page: True\nafter: BrokenProcessPool\ngiven back: 9\n' | diff - "$folder/output.txt" \
  || { echo "the behaviour changed"; exit 1; }
grep -q "__args" "$folder/errors.txt" || { echo "the worker failed for another reason"; exit 1; }
echo "as described"
