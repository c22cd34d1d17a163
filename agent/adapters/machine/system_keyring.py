"""The operating system's keyring: the only place that talks to the keyring library.

A locked keyring may put up a window and wait for a person, without a limit; so every question is
asked on a thread that may be left behind, one question at a time, and whoever asks hears within
:data:`PATIENCE_S`.

Only the four system keyrings are used, chosen here by class. The library's own choice would also
take plug-ins that write plain text, and a null one that forgets (SECURITY.md, "Storage"; threat
row 35). It is imported with the first question: 40 ms that most starts never need.
"""

from __future__ import annotations

import configparser
import contextlib
import importlib
import logging
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tracking.errors import Fault, SecretFault

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

log = logging.getLogger("agent.keyring")

T = TypeVar("T")

PATIENCE_S = 10.0  #: How long a keyring may take; a person may have to type a password.

#: The keyrings that we trust, by module and class.
TRUSTED = (
    ("keyring.backends.SecretService", "Keyring"),
    ("keyring.backends.kwallet", "DBusKeyring"),
    ("keyring.backends.macOS", "Keyring"),
    ("keyring.backends.Windows", "WinVaultKeyring"),
)


class NoKeyring(Exception):
    """There is no keyring that we trust; the text says why."""


class Keyring:
    """The keyring, asked from any thread.

    Args:
        patience_s: How long one question may take.
        find: Returns the library's backend, or raises :class:`NoKeyring`.

    """

    def __init__(
        self, *, patience_s: float = PATIENCE_S, find: Callable[[], KeyringBackend] | None = None
    ) -> None:
        self.patience_s = patience_s
        self._find = find or system_keyring
        self._turn = threading.Lock()  # one question at a time: one password window, not five

    def get(self, service: str, name: str, *, quietly: bool = False) -> str | None:
        """Return an entry, or None. Raises as :meth:`_ask`.

        Args:
            service: Ours.
            name: Of the entry.
            quietly: Rather fail than have the system ask a person for a password.

        """

        def question(ring: KeyringBackend) -> str | None:
            if quietly:
                refuse_to_prompt(ring)
            return ring.get_password(service, name)

        return self._ask(question)

    def set(self, service: str, name: str, text: str, *, quietly: bool = False) -> None:
        """Write an entry; arguments as :meth:`get`. Raises as :meth:`_ask`."""

        def question(ring: KeyringBackend) -> None:
            if quietly:
                refuse_to_prompt(ring)
            ring.set_password(service, name, text)

        self._ask(question)

    def delete(self, service: str, name: str) -> bool:
        """Delete an entry; tell whether there was one. Raises as :meth:`_ask`.

        A locked keyring may ask for its password, because a person wants the entry gone; where
        there is no keyring yet nobody is asked to make one.
        """

        def question(ring: KeyringBackend) -> bool:
            with contextlib.suppress(SecretFault):
                refuse_to_prompt(ring)
            if ring.get_password(service, name) is None:
                return False
            ring.delete_password(service, name)
            return True

        return self._ask(question)

    def _ask(self, question: Callable[[KeyringBackend], T]) -> T:
        """Ask the keyring on a thread of its own; give up after ``patience_s``.

        Raises:
            NoKeyring: There is none that we trust.
            SecretFault: It is locked, it refused, or it does not answer.

        """
        if not self._turn.acquire(timeout=self.patience_s):
            raise _silent(self.patience_s)
        answers: queue.SimpleQueue[tuple[T | None, Exception | None]] = queue.SimpleQueue()

        def work() -> None:
            try:
                answers.put((question(self._find()), None))
            except Exception as exc:
                answers.put((None, exc))
            finally:
                self._turn.release()  # by a thread left behind, once the person has answered

        threading.Thread(target=work, name="keyring", daemon=True).start()
        try:
            answer, wrong = answers.get(timeout=self.patience_s)
        except queue.Empty:
            raise _silent(self.patience_s) from None
        if wrong is not None:
            raise as_fault(wrong) from wrong
        return answer  # type: ignore[return-value]  # None only where T allows it


def system_keyring() -> KeyringBackend:
    """Return the best keyring of this system that we trust.

    The library's own choice is not used: it loads every plug-in that is installed, and obeys a
    variable and a file that may name any class. What they say is read all the same: a person who
    switched the keyring off there does not want it.

    Raises:
        NoKeyring: There is none.

    """
    wanted = _configured()
    if wanted and tuple(wanted.rpartition(".")[::2]) not in TRUSTED:
        raise NoKeyring(f"the keyring is set to {wanted}, which is not a system keyring")
    found: list[tuple[float, type[KeyringBackend]]] = []
    for module, name in TRUSTED:
        if wanted and wanted != f"{module}.{name}":
            continue
        try:  # asking for its priority is how a keyring says whether it is there
            cls: type[KeyringBackend] = getattr(importlib.import_module(module), name)
            found.append((float(cls.priority), cls))
        except Exception as exc:  # each has its own way to say no
            log.debug("a keyring is not here backend=%s reason=%s", module, type(exc).__name__)
    if not found:
        raise NoKeyring("this session has no keyring")
    return max(found, key=lambda one: one[0])[1]()


def refuse_to_prompt(ring: KeyringBackend) -> None:
    """Make sure that a Secret Service would answer without putting up a window.

    Raises:
        NoKeyring: It has no keyring yet; writing would ask for a password to make one with.
        SecretFault: Its keyring is locked.

    """
    if type(ring).__module__ != "keyring.backends.SecretService":
        return  # the other systems unlock with the login
    import secretstorage
    from secretstorage.exceptions import ItemNotFoundException

    with contextlib.closing(secretstorage.dbus_init()) as bus:
        try:
            collection = secretstorage.Collection(bus, "/org/freedesktop/secrets/aliases/default")
            locked = collection.is_locked()
        except ItemNotFoundException:
            raise NoKeyring("this login has no keyring yet") from None
    if locked:
        raise SecretFault("the keyring is locked", advice="Unlock your keyring.")


def as_fault(exc: Exception) -> Exception:
    """Translate the library's exceptions, once, at the border."""
    import keyring.errors

    match exc:
        case NoKeyring() | Fault():
            return exc
        case keyring.errors.NoKeyringError():
            return NoKeyring("this session has no keyring")
        case keyring.errors.KeyringLocked() | keyring.errors.InitError():
            return SecretFault("the keyring is locked", advice="Unlock your keyring.")
        case keyring.errors.KeyringError():
            return SecretFault(
                f"the keyring refused: {type(exc).__name__}", advice="Unlock your keyring."
            )
    dbus = type(exc).__module__.partition(".")[0] in {"secretstorage", "jeepney", "dbus"}
    if dbus or isinstance(exc, OSError):  # its service hung up; the library lets these through
        return SecretFault(
            f"the keyring went away: {type(exc).__name__}", advice="Unlock your keyring."
        )
    return exc  # not the keyring's doing: a bug keeps its own traceback


def _configured() -> str:
    """Return the backend that a person set for the keyring library, without loading it."""
    if named := os.environ.get("PYTHON_KEYRING_BACKEND", ""):
        return named
    from keyring.util import platform_

    parser = configparser.RawConfigParser()
    try:
        parser.read(Path(platform_.config_root(), "keyringrc.cfg"), encoding="utf-8")
        return parser.get("backend", "default-keyring", fallback="").strip()
    except (configparser.Error, UnicodeDecodeError, OSError):
        return "an unreadable keyringrc.cfg"


def _silent(patience_s: float) -> SecretFault:
    return SecretFault(
        f"the keyring did not answer within {patience_s:g} s", advice="Unlock your keyring."
    )
