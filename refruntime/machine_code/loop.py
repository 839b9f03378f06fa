"""A compiled loop: found by its name, loaded or compiled when it is called first, and called by words."""

from __future__ import annotations

import ctypes
import hashlib
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from refruntime.machine_code.layout import check_layout
from refruntime.machine_code.signature import REFUSED, Kind, kind_of, mismatch, packer

Notice = Callable[[str], None]

_LOCK: Final = threading.RLock()  # LLVM and numba are asked by one thread at a time; loops run in any number of them
_ENTRY: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p)  # holds no lock of Python while it runs


class _Engine:
    """What loads machine code into this process."""

    def __init__(self) -> None:
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        target = llvm.Target.from_default_triple()
        features, reloc = (
            llvm.get_host_cpu_features().flatten(),
            "static" if target.name.startswith("x86") else "default",
        )
        options = {"cpu": llvm.get_host_cpu_name(), "features": features, "opt": 3, "jit": True}
        self.machine = target.create_target_machine(reloc=reloc, codemodel="jitdefault", **options)
        self._llvm = llvm
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), self.machine)
        self._kept: list[Any] = []

    def address(self, code: bytes, entry: str) -> int:
        """Load machine code and return the address of a function of it."""
        self._kept.append(self._llvm.ObjectFileRef.from_data(code))
        self._engine.add_object_file(self._kept[-1])
        self._engine.finalize_object()
        address: int = self._engine.get_function_address(entry)
        return address


class _State:
    """The engine of this process, and who is told when something has to be compiled first."""

    def __init__(self) -> None:
        self.engine: _Engine | None = None
        self.notice: Notice | None = None


_STATE: Final = _State()


def prepare(notice: Notice | None = None) -> None:
    """Make ready to load loops; `notice` is told, once, when one has to be compiled. ImportError where that cannot be.

    numba is imported where it never compiled anything on this machine, to learn whether it can.
    """
    from refruntime.machine_code import kept

    check_layout()
    with _LOCK:
        place = kept.folder()
        if place is None or not place.is_dir():
            import_module("numba")
        _engine()
        _STATE.notice = notice


def _engine() -> _Engine:
    if _STATE.engine is None:
        _STATE.engine = _Engine()
    return _STATE.engine


class Loop:
    """A function of numba by its module and name, or the one that it makes for a `variant`.

    The first call says what kinds of arguments it takes; any later one with others is a TypeError.
    """

    def __init__(self, module: str, function: str, variant: str = "") -> None:
        self.module, self.function, self.variant = module, function, variant
        self._call: Callable[[tuple[Any, ...]], int] | None = None
        self._kinds: tuple[Kind, ...] = ()

    def __call__(self, *arguments: Any) -> None:
        """Run the loop."""
        call = self._call
        if call is None:
            call = self._ready(arguments)
        if status := call(arguments):
            if status == REFUSED:
                raise TypeError(mismatch(arguments, self._kinds))
            raise RuntimeError(f"the compiled loop {self.module}.{self.function} failed with {status}")

    def _ready(self, arguments: tuple[Any, ...]) -> Callable[[tuple[Any, ...]], int]:
        with _LOCK:
            if self._call is None:
                kinds = tuple(map(kind_of, arguments))
                entry, pack = _ENTRY(self._address(kinds)), packer(kinds)
                self._kinds = kinds
                self._call = lambda arguments: entry(pack(arguments))
            return self._call

    def _address(self, kinds: tuple[Any, ...]) -> int:
        from refruntime.machine_code import kept

        engine = _engine()
        what = hashlib.sha256(repr((self.module, self.function, self.variant, kinds)).encode()).hexdigest()[:16]
        name = f"{self.function.strip('_')}_{self.variant}_{what}"
        code = kept.read(name)
        if code is None:
            if _STATE.notice is not None:
                _STATE.notice("compiling loops; this happens once and takes a few seconds")
                _STATE.notice = None
            from refruntime.machine_code.compiling import compiled

            code = compiled(self.module, self.function, self.variant, kinds, name, engine.machine)
            kept.write(name, code)
        return engine.address(code, f"refruntime_{name}")
