"""A real terminal for tests: tmux on a socket of its own, keys in, the screen out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

PATIENCE = 30.0
STARTS = count()


class Terminal:
    """One program in a tmux window. Keys are sent as tmux names them; the screen is read as text."""

    def __init__(self, folder: Path, columns: int = 100, rows: int = 40) -> None:
        if shutil.which("tmux") is None:
            pytest.skip("tmux is not installed")
        self.folder = folder
        self._server: list[str] = []
        self._size = ["-x", str(columns), "-y", str(rows)]

    def start(self, *arguments: object, **environment: str) -> None:
        """Run `refruntime repl ARGUMENTS` and wait for its input line."""
        self.run("repl", *arguments, **environment)
        self.wait_for(" main |")  # the toolbar stands when keys are read

    def run(self, *arguments: object, **environment: str) -> None:
        """Run `refruntime ARGUMENTS`; behind its end the screen says `left with CODE`."""
        variables = {"LANG": "C.UTF-8", "XDG_STATE_HOME": str(self.folder), "HISTFILE": os.devnull, **environment}
        words = [f"{name}={value}" for name, value in variables.items()]
        command = [sys.executable, "-m", "refruntime", *map(str, arguments)]
        exits = f'trap : INT; "$@"; echo "left with $?"; exec {shutil.which("cat")}'
        shell = ["env", "-u", "NO_COLOR", "-u", "COLUMNS", *words, "sh", "-c", exits, "sh", *command]
        # a socket for each: the one of a server that is ending is of no use
        socket = f"refruntime-test-{os.getpid()}-{next(STARTS)}"
        self._server = ["tmux", "-L", socket, "-f", os.devnull]
        self._tmux("new-session", "-d", *self._size, *shell)

    def stop(self) -> None:
        """End this server and nothing else."""
        if self._server:
            subprocess.run([*self._server, "kill-server"], capture_output=True, check=False)

    def _tmux(self, *words: str) -> str:
        done = subprocess.run([*self._server, *words], capture_output=True, text=True)
        assert done.returncode == 0, f"tmux {' '.join(words)}: {done.stderr}"
        return done.stdout

    def keys(self, *keys: str) -> None:
        """Press keys: names such as Enter, Tab, C-c, or text."""
        for key in keys:
            self._tmux("send-keys", key)

    def type(self, text: str, then: str = "Enter") -> None:
        """Type text letter for letter, then press a key."""
        self._tmux("send-keys", "-l", text)
        if then:
            self.keys(then)

    def paste(self, text: str) -> None:
        """Paste text as a terminal does, in brackets."""
        self._tmux("set-buffer", text)
        self._tmux("paste-buffer", "-p")

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the window."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def screen(self, colours: bool = False, history: bool = False, joined: bool = False) -> str:
        """Return what the screen shows; `joined` undoes where the terminal itself broke a line."""
        options = {"-e": colours, "-S": history, "-": history, "-J": joined}
        return self._tmux("capture-pane", "-p", *(option for option, wanted in options.items() if wanted))

    def leave(self) -> None:
        """Press Ctrl-D at a fresh input line; the program ends with 0."""
        self.ready()
        self.keys("C-d")
        self.wait_for("left with 0")

    def clear(self) -> None:
        """Clear the screen with Ctrl-L at a fresh input line, and wait until it is."""
        self.ready()
        self.keys("C-l")
        self.wait_until(lambda screen: [line for line in screen.splitlines() if line][:1] == [">"], "clear screen")

    def ready(self) -> None:
        """Wait for a fresh input line: what is pressed before belongs to no line yet."""
        self.wait_until(lambda screen: [line for line in screen.splitlines() if line][-2:-1] == [">"], "input line")

    def lines(self) -> list[str]:
        """Return the lines that are not empty, without the toolbar."""
        return [line.rstrip() for line in self.screen().splitlines() if line.strip()]

    def wait_until(self, fits: Callable[[str], bool], what: str) -> str:
        """Wait until the screen fits; returns it."""
        begin = time.monotonic()
        while True:
            screen = self.screen()
            if fits(screen):
                return screen
            if time.monotonic() - begin > PATIENCE:
                raise AssertionError(f"no {what} within {PATIENCE:.0f} s on the screen:\n{screen}")
            time.sleep(0.05)

    def wait_for(self, text: str, times: int = 1) -> str:
        """Wait until the screen shows a text."""
        return self.wait_until(lambda screen: screen.count(text) >= times, repr(text))
