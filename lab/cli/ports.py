"""Ports of this machine."""

from __future__ import annotations

import socket


def free_port(address: str, port: int) -> None:
    """Refuse a port that is taken."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise ValueError(
                f"port {port} on {address} cannot be used ({error.strerror}); choose another with --port"
            ) from None
