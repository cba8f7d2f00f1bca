"""Native output is kept from the terminal, and stderr is always given back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from nmcore_ort.native_output import captured_output


def test_native_and_python_output_is_captured(capfd):
    with captured_output() as captured:
        os.write(2, b"\x1b[1;31mnative trouble\x1b[m\n")
        print("printed trouble")
    os.write(2, b"after\n")
    assert captured.text == "printed trouble\nnative trouble"
    assert capfd.readouterr() == ("", "after\n")


def fail_inside():
    os.write(2, b"lost?")
    raise KeyError


def test_stderr_comes_back_after_an_exception(capfd):
    with pytest.raises(KeyError), captured_output() as captured:
        fail_inside()
    os.write(2, b"after")
    assert captured.text == "lost?"
    assert capfd.readouterr().err == "after"


def test_text_survives_in_the_debug_log(caplog):
    caplog.set_level("DEBUG", logger="nmcore_ort")
    with captured_output():
        os.write(2, b"why it failed")
    assert "why it failed" in caplog.text


def test_what_was_buffered_before_is_not_captured():
    code = (
        "import sys; from nmcore_ort.native_output import captured_output\n"
        "sys.stderr.write('before ')\n"
        "with captured_output() as captured: sys.stderr.write('inside')\n"
        "sys.stderr.write('after'); print(captured.text)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("inside\n", "before after")


def test_blocks_nest(capfd):
    with captured_output() as outer:
        os.write(2, b"1")
        with captured_output() as inner:
            os.write(2, b"2")
        os.write(2, b"3")
    assert (outer.text, inner.text, capfd.readouterr().err) == ("13", "2", "")


def test_threads_leave_stderr_and_no_descriptor_behind():
    before = os.fstat(2)
    highest = os.dup(2)
    os.close(highest)

    def work() -> None:
        for _ in range(20):
            with captured_output():
                os.write(2, b"x")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert os.path.samestat(os.fstat(2), before)
    again = os.dup(2)
    os.close(again)
    assert again == highest


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_a_closed_stderr_is_no_problem():
    code = (
        "from nmcore_ort.native_output import captured_output\nwith captured_output(): print('in')"
    )
    command = f'"{sys.executable}" -c "{code}" 2>&-'
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
