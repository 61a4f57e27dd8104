"""A Jupyter kernel provisioner that asks a zygote for the kernel, and starts a cold one on any doubt.

It is registered as ``lab-warm``. Any Jupyter front end uses it unchanged: ``JUPYTER_DEFAULT_PROVISIONER_NAME=lab-warm`` and
``LAB_ZYGOTE=<socket>`` in its environment, which is what ``lab warm -- papermill in.ipynb out.ipynb`` sets.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from importlib.metadata import EntryPoint
from queue import Empty
from typing import Any

import psutil
import zmq
import zmq.asyncio
from jupyter_client import AsyncKernelClient, AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from traitlets import DottedObjectName, Type, default

from lab.report.notebook.forkserver import PROVISIONER as NAME
from lab.report.notebook.forkserver import SOCKET


class WarmProvisioner(LocalProvisioner):
    """``kind`` is ``"warm"`` or ``"cold"``; ``doubt`` says why a cold kernel was started."""

    kind = "cold"
    doubt = ""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any):
        """Fork the kernel from the zygote where that is safe, else start it as the local provisioner does."""
        path = (kwargs.get("env") or {}).get(SOCKET) or os.environ.get(SOCKET)
        process = None
        if not path:
            self.doubt = "no zygote"
        elif not any("ipykernel" in word for word in cmd) or "-f" not in cmd:
            self.doubt = "not an IPython kernel"
        else:
            process, self.doubt = _ask(path, cmd, kwargs)
        if process is None:
            return await super().launch_kernel(cmd, **kwargs)
        self.kind, self.process = "warm", process
        self.pid = self.pgid = process.pid
        self.cwd = kwargs.get("cwd") or os.getcwd()
        return self.connection_info

    async def wait(self) -> int | None:
        """Wait for the end of the kernel; a forked one is looked at a hundred times a second."""
        while self.kind == "warm" and self.process is not None and self.process.poll() is None:
            await asyncio.sleep(0.01)
        return await super().wait()


class PromptClient(AsyncKernelClient):
    """A kernel client that is ready as soon as the kernel's answer has come on both channels, without a pause after it."""

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Ask until the kernel answers on the shell channel and says on the other that it is idle again."""
        deadline = time.monotonic() + (timeout or 60.0)
        while True:
            asked = self.kernel_info()
            try:
                reply = await self.get_shell_msg(timeout=1)
                while reply["parent_header"].get("msg_id") != asked:
                    reply = await self.get_shell_msg(timeout=1)
                while True:
                    message = await self.get_iopub_msg(timeout=0.2)
                    own = message["parent_header"].get("msg_id") == asked
                    if own and message["content"].get("execution_state") == "idle":
                        self._handle_kernel_info_reply(reply)
                        return
            except Empty:
                pass
            if not await self.is_alive():
                raise RuntimeError("the kernel died before it answered")
            if time.monotonic() > deadline:
                raise RuntimeError(f"the kernel did not answer in {timeout:g} s")


class LabKernelManager(AsyncKernelManager):
    """A kernel manager with the prompt client, which looks again after hundredths of a second where others wait a tenth."""

    client_class = DottedObjectName("lab.report.provisioner.PromptClient")
    client_factory = Type(
        klass="jupyter_client.asynchronous.AsyncKernelClient", default_value="lab.report.provisioner.PromptClient"
    )

    @default("context")
    def _prompt_context(self) -> zmq.asyncio.Context:
        # the client connects before the kernel listens: what it then waits until it tries again is waited in every run
        self._created_context = True
        context = zmq.asyncio.Context()
        context.setsockopt(zmq.RECONNECT_IVL, 5)
        return context

    async def _async_wait(self, pollinterval: float = 0.01) -> None:
        await super()._async_wait(min(pollinterval, 0.01))


class WarmKernelManager(LabKernelManager):
    """A kernel manager whose kernels come from :class:`WarmProvisioner`, whatever the kernel specification says."""

    @property
    def kernel_spec(self):
        """The kernel specification with the warm provisioner in it."""
        spec = super().kernel_spec
        if spec is not None:
            spec.metadata = {**spec.metadata, "kernel_provisioner": {"provisioner_name": NAME}}
        return spec


def register() -> None:
    """Make the provisioner known where the package's entry points are not installed."""
    factory = KernelProvisionerFactory.instance()
    if NAME not in factory.provisioners:
        factory.provisioners[NAME] = EntryPoint(
            NAME, "lab.report.provisioner:WarmProvisioner", KernelProvisionerFactory.GROUP_NAME
        )


class _Forked:
    """What :class:`subprocess.Popen` is to a child, for a kernel that another process forked."""

    stdin = stdout = stderr = None

    def __init__(self, pid, connection):
        self.pid, self.returncode = pid, None
        self._connection = connection
        connection.setblocking(False)

    def poll(self):
        if self.returncode is None:
            try:
                data = self._connection.recv(4096)
            except BlockingIOError:
                return None
            except OSError:
                data = b""
            # no message: the zygote itself has gone, and its kernels with it
            self.returncode = json.loads(data)["exit"] if data else -signal.SIGKILL
            self._connection.close()
        return self.returncode

    def wait(self, timeout=None):
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"kernel {self.pid} has not ended after {timeout:g} s")
            time.sleep(0.02)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def terminate(self):
        self.send_signal(signal.SIGTERM)


def _ask(path, cmd, options):
    environment = dict(options.get("env") or os.environ)
    message = {"arguments": cmd[cmd.index("-f") :], "env": environment, "cwd": str(options.get("cwd") or os.getcwd())}
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with open(os.devnull, "wb") as nothing:
        descriptors = [_descriptor(options.get(name), nothing) for name in ("stdout", "stderr")]
        try:
            connection.settimeout(20)
            connection.connect(path)
            body = json.dumps(message).encode()
            data = str(len(body)).encode() + b"\n" + body
            sent = socket.send_fds(connection, [data], descriptors)
            if sent < len(data):  # an empty send would fail on a zygote that has answered and hung up already
                connection.sendall(data[sent:])
            answer = json.loads(connection.makefile("rb").readline())
        except (OSError, ValueError) as error:
            connection.close()
            return None, f"the zygote does not answer: {error}"
    if "pid" not in answer:
        connection.close()
        return None, answer.get("refused", "refused")
    return _Forked(answer["pid"], connection), ""


def _descriptor(given, nothing):
    return given.fileno() if hasattr(given, "fileno") else nothing.fileno()


def step_back(pid: int) -> None:
    """Give a kernel the priority that ``LAB_NICE`` asks for: 0 to 19, where 19 leaves the most to everybody else."""
    wanted = os.environ.get("LAB_NICE", "0")
    if not wanted.isdigit() or wanted == "0" or not hasattr(os, "setpriority"):
        return
    try:
        for thread in psutil.Process(pid).threads():
            os.setpriority(os.PRIO_PROCESS, thread.id, min(int(wanted), 19))
    except (psutil.Error, OSError):
        return  # it has ended; whoever waits for it says so
