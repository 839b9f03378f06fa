"""The pytest plugin: with `--refruntime-wasm BUILD` every golden is a test of that build, without it nothing happens.

This module is imported whenever pytest runs where the package is installed, so it defines the options and no more.
"""

from __future__ import annotations

import argparse

import pytest

GROUP = "refruntime: test a TinyRustLM build"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Define the options."""
    group = parser.getgroup("refruntime", GROUP)
    group.addoption("--refruntime-wasm", metavar="BUILD", help="Run the goldens on this WebAssembly module.")
    group.addoption(
        "--refruntime-golden",
        metavar="DIR",
        help="Folder of goldens; by default those of the installed refruntime.",
    )
    group.addoption(
        "--refruntime-profile",
        metavar="FILE",
        help="Contract profile in TOML; where the goldens hold for another one, the oracle computes the answers.",
    )
    group.addoption(
        "--refruntime-xfail",
        metavar="FILE",
        help='Known failures in TOML, "FAMILY/NAME" or a shell pattern = "reason"; one that passes is a failure.',
    )
    group.addoption(
        "--refruntime-filter",
        metavar="PATTERN",
        action="append",
        default=[],
        help="Run only these goldens: an id, a family, a rule, or a shell pattern of ids. Several are allowed.",
    )
    group.addoption(
        "--refruntime-timeout",
        metavar="SECONDS",
        type=float,
        default=20.0,
        help="Seconds after which a call of the build is stopped (default: 20).",
    )
    group.addoption("--refruntime-nodes", action="append", default=[], help=argparse.SUPPRESS)  # for worker processes


def pytest_configure(config: pytest.Config) -> None:
    """Load the plugin itself, if a build was named."""
    if config.getoption("refruntime_wasm") is not None:
        from refruntime.pytest_plugin.goldens import GoldenPlugin
        from refruntime.pytest_plugin.settings import read_settings

        config.pluginmanager.register(GoldenPlugin(read_settings(config)), "refruntime-goldens")
