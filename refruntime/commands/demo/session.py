"""Make calls through the exports and put each with its answer into a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table
from rich.text import Text

from refruntime.commands.shared import add_row, visible
from refruntime.contract.exports import EXPORTS_BY_NAME
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.exports import ExportedABI
from refruntime.host_numbers import Number
from refruntime.memory import HostMisuse, Trap

SHOWN_BYTES = 300


class DemoSession:
    """A host with one strict module: it counts what it did and notes every answer that was not expected."""

    def __init__(self, console: Console, model: bytes, profile: Profile) -> None:
        self.console = console
        self.model = model
        self.profile = profile
        self.abi = ExportedABI(profile)
        self.calls = 0
        self.statuses = 0
        self.misuses = 0
        self.surprises: list[str] = []
        self._table = Table()

    @contextmanager
    def chapter(self, title: str, text: str) -> Iterator[None]:
        """Begin a chapter; its table is printed at the end."""
        self.console.print(Text(f"\n{title}", style="bold cyan"))
        self.console.print(Text(text))
        self._table = Table(highlight=False, show_lines=False, pad_edge=False)
        self._table.add_column("call", overflow="fold", ratio=5)
        self._table.add_column("answer", overflow="fold", ratio=4)
        self._table.add_column("what it shows", overflow="fold", ratio=6)
        yield
        if self._table.row_count:
            self.console.print(self._table)

    def row(self, call: str, answer: str, meaning: str) -> None:
        """Add a row that is no call of an export."""
        add_row(self._table, call, answer, meaning)

    def call(
        self,
        export: str,
        *arguments: Number,
        meaning: str = "",
        expected: Status | tuple[Status, ...] = Status.Ok,
        shown: str | None = None,
    ) -> int:
        """Call an export and show its answer; a status is compared with `expected`. Void exports give 0."""
        self.calls += 1
        answer: int | None = getattr(self.abi, export)(*arguments)
        call = f"{export}({_shown_arguments(export, arguments) if shown is None else shown})"
        if not EXPORTS_BY_NAME[export].returns_status:
            self.row(call, "" if answer is None else f"{answer:#x}", meaning)
            return answer or 0
        self.statuses += 1
        status = Status(int(answer or 0))
        allowed = expected if isinstance(expected, tuple) else (expected,)
        if status not in allowed:
            wanted = " or ".join(each.name for each in allowed)
            self.surprises.append(f"{call}: expected {wanted}, found {status.name}")
        failure = self.abi.last_failure
        if failure is not None and not meaning:
            meaning = failure.detail + (f" ({failure.rule})" if failure.rule else "")
        self.row(call, f"{int(status)} {status.name}", meaning)
        return int(status)

    def put(self, data: bytes, what: str) -> int:
        """Allocate a buffer and write bytes into it, as one row; return the pointer."""
        self.calls += 1
        pointer = self.abi.alloc(len(data))
        self.abi.write(pointer, data)
        self.row(f"alloc({len(data)}), write", f"{pointer:#x}", what)
        return pointer

    def text(self, meaning: str) -> bytes:
        """Read the result through its pointer and length, and show it."""
        self.calls += 2
        pointer, length = self.abi.last_result_ptr(), self.abi.last_result_len()
        raw = self.abi.read(pointer, length)
        self.row(f"last_result_ptr() = {pointer:#x}, last_result_len() = {length}", _quoted(raw), meaning)
        return raw

    def diagnostics(self) -> bytes:
        """Read the diagnostics document."""
        self.calls += 2
        return self.abi.read(self.abi.get_diagnostics_ptr(), self.abi.get_diagnostics_len())

    def misuse(self, what: str, action: Callable[[], object], meaning: str) -> None:
        """Do something that is undefined behaviour in the original; the ledger has to catch it (MEM-4)."""
        try:
            action()
        except HostMisuse as error:
            self.misuses += 1
            self.row(what, f"HostMisuse: {error.problem}", meaning)
        else:
            self.surprises.append(f"{what}: expected HostMisuse, found none")
            self.row(what, "nothing happened", meaning)

    def trap(self, what: str, action: Callable[[], object], meaning: str) -> None:
        """Do something at which a module traps (MEM-6)."""
        try:
            action()
        except Trap as error:
            self.row(what, f"Trap: {error}", meaning)
        else:
            self.surprises.append(f"{what}: expected a trap, found none")
            self.row(what, "nothing happened", meaning)


def _shown_arguments(export: str, arguments: tuple[Number, ...]) -> str:
    """Return the arguments for people, pointers in hexadecimal."""
    parameters = EXPORTS_BY_NAME[export].parameters
    return ", ".join(
        f"{argument:#x}" if parameter.name == "pointer" else str(argument)
        for parameter, argument in zip(parameters, arguments, strict=True)
    )


def _quoted(raw: bytes) -> str:
    shown = visible(raw[:SHOWN_BYTES]).replace("␣", " ")
    return f'"{shown}"' + (f" ... ({len(raw)} bytes)" if len(raw) > SHOWN_BYTES else "")
