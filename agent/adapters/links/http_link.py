"""One thread that asks a far end over HTTP, one question at a time, on a connection it keeps.

The counterpart of ``agent.adapters.links.websocket_link`` for far ends that answer instead of talk.
The core thread calls :meth:`HttpLink.ask`, :meth:`HttpLink.cancel` and :meth:`HttpLink.stop`; none
of them waits, but for ``stop``. What happens is posted.

Invariants:
    1. Each question ends in exactly one :class:`Answered` or ``Lost``, unless it was cancelled.
       Questions under one number are a conversation: when one is lost, those behind it are
       dropped without a word.
    2. Only this thread touches the connection; it is opened when there is something to ask, and
       at most one is open.
    3. A connection that the far end closed while nobody spoke is no failure: the question goes
       over a new one, once.
    4. The key is asked for on this thread, because a keyring may wait for a person, and stays in
       its memory; after an answer that is no 2xx it is asked for again. No answer that is posted
       holds it.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from agent.adapters.links.http_wire import Answer, HttpWire, Passed, Question, Stale
from agent.adapters.links.http_wire import unheard as unnoted
from agent.adapters.links.websocket_link import Died, Note, unheard
from agent.adapters.roads.atlas import Atlas
from agent.adapters.roads.names import beside
from agent.adapters.roads.patience import Abandoned, Patience, as_fault, drain, ready_of
from agent.adapters.roads.road import Resolve, look_up, open_road
from agent.adapters.roads.tls import client_context
from agent.rules.endpoints import Address
from agent.rules.notices import Lost
from tracking.errors import Fault

MASK = "…".encode()  #: Stands for the key in what a far end says.
BLANK = b"***"  #: Stands for the key in what is noted, as :mod:`agent.rules.masking` has it.
IDLE_S = 300.0  #: A connection that nobody used for so long is closed.

Make = Callable[[str], Question]  #: From the key, empty if there is none.


@dataclass(frozen=True, slots=True)
class Answered:
    """A question's answer.

    Attributes:
        number: The question's.
        answer: Whole, or cut at our cap.
        at_ms: When its last byte came, Unix milliseconds.
        peer: Who proved to be there.

    """

    number: int
    answer: Answer
    at_ms: int
    peer: str


@dataclass(frozen=True, slots=True)
class _Ask:
    number: int
    address: Address
    make: Make


class HttpLink:
    """The thread, its inbox, and at most one connection.

    Args:
        name: Of the way, for the thread's name.
        post: Takes what happens; called from this thread, must not wait.
        agent: For ``User-Agent``.
        key: Returns the far end's key; may block. Raises a ``Fault`` if there is none.
        ca_file: PEM certificates trusted beside the computer's own.
        dial_s: Name, connection, proxy and TLS together.
        answer_s: A question and its answer.
        resolve: Name to places; replaced in tests.
        atlas: Hosts, proxies and logins of this agent.
        note: Hears what a proxy is asked and answers; called from this thread.
        passed: Hears what was written and what was answered, without the key; likewise. It hears
            an answer before that is posted.

    Attributes:
        sent_bytes: Bodies sent since the start. Written by this thread alone; any may read it.
        received_bytes: Bodies received since the start, likewise.
        dials: Connections since the start, those that did not come about as well; likewise.

    """

    def __init__(
        self,
        name: str,
        post: Callable[[Answered | Lost | Died], None],
        *,
        agent: str = "homing",
        key: Callable[[], str] = str,
        ca_file: Path | None = None,
        dial_s: float = 15.0,
        answer_s: float = 30.0,
        resolve: Resolve = look_up,
        atlas: Atlas | None = None,
        note: Note = unheard,
        passed: Callable[[Passed], None] = unnoted,
    ) -> None:
        self.name = name
        self.sent_bytes = 0
        self.received_bytes = 0
        self.dials = 0
        self._post = post
        self._agent = agent
        self._ask_key = key
        self._ca_file = ca_file
        self._dial_s, self._answer_s = dial_s, answer_s
        self._resolve = resolve
        self._atlas = atlas
        self._note = note
        self._passed = passed
        self._context: ssl.SSLContext | None = None
        self._inbox: deque[_Ask] = deque()
        self._unwanted = 0  # questions up to this one were cancelled
        self._renewed = False  # the key may be another one
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)

        # the thread's own
        self._wire: HttpWire | None = None
        self._last = 0  # the number of the question that the connection was used for last
        self._lost = 0  # the number of the conversation that was lost last
        self._key: str | None = None

    # --- the core's side ------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread, unless it runs. A question does so by itself."""
        if self._thread is None and not self._stopping.is_set():
            self._thread = threading.Thread(target=self._run, name=f"post {self.name}", daemon=True)
            self._thread.start()

    def ask(self, number: int, address: Address, make: Make) -> None:
        """Ask a question; numbers never fall. Answered by :class:`Answered` or ``Lost``."""
        self.start()
        self._inbox.append(_Ask(number, address, make))
        self._wake()

    def cancel(self, number: int) -> None:
        """End the questions up to this one, and the connection that they went over.

        What was posted already still arrives.
        """
        self._unwanted = max(self._unwanted, number)
        self._wake()

    def renew(self) -> None:
        """Ask for the key again before the next question."""
        self._renewed = True

    def stop(self, within_s: float = 2.0) -> bool:
        """End the thread; tell whether it did end within ``within_s``."""
        self._stopping.set()
        thread = self._thread
        if thread is None:
            self._wake_in.close()
            self._wake_out.close()
            return True
        self._wake()
        thread.join(within_s)
        return not thread.is_alive()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it will wake; closed: the thread has ended
            self._wake_in.send(b"!")

    # --- the thread's side ----------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                if self._wire is not None and self._last <= self._unwanted:
                    self._close()
                if self._inbox:
                    self._carry_out(self._inbox.popleft())
                else:
                    self._sleep()
        except Exception as exc:
            died = Died(f"the thread that posts for {self.name} died")
            died.__cause__ = exc
            self._post(died)
        finally:
            self._close()
            self._wake_in.close()
            self._wake_out.close()

    def _sleep(self) -> None:
        """Wait for a letter; meanwhile the far end may only close."""
        wire = self._wire
        reads = [self._wake_out] if wire is None else [self._wake_out, wire.sock]
        ready = ready_of(reads, [], None if wire is None else IDLE_S)
        if self._wake_out in ready:
            drain(self._wake_out)
        elif wire is not None:
            self._close()

    def _carry_out(self, ask: _Ask) -> None:
        if ask.number <= self._unwanted or ask.number == self._lost:
            return
        self._last = ask.number
        try:
            answer = self._answer(ask)
        except Abandoned:
            self._close()
            return
        except Exception as exc:
            fault = exc if isinstance(exc, Fault) else as_fault(exc, "the far end")
            self._close()
            self._key = None
            self._lost = ask.number
            if not self._given_up(ask.number):
                self._post(Lost(ask.number, fault))
            return
        answer = self._masked(answer)
        if not 200 <= answer.status < 300:
            self._key = None
        peer = "" if self._wire is None else self._wire.peer
        self._count()
        if self._wire is not None and self._wire.closed:
            self._wire = None
        if not self._given_up(ask.number):
            self._post(Answered(ask.number, answer, int(time.time() * 1000), peer))

    def _answer(self, ask: _Ask) -> Answer:
        if self._renewed:
            self._renewed, self._key = False, None
        if self._key is None:
            self._key = self._ask_key()
        question = ask.make(self._key)
        wire = self._wire
        if wire is not None and wire.address == ask.address and wire.usable():
            try:
                return wire.ask(question, self._patience(ask.number, self._answer_s))
            except Stale:
                pass  # invariant 3
        self._close()
        self._wire = self._connect(ask)
        return self._wire.ask(question, self._patience(ask.number, self._answer_s))

    def _masked(self, answer: Answer) -> Answer:
        """Return the answer without our key, which a far end may well repeat in its words."""
        body = self._without_key(answer.body, MASK)
        return answer if body is answer.body else replace(answer, body=body)

    def _without_key(self, said: bytes, mask: bytes) -> bytes:
        for key in {self._key or "", quote(self._key or "", safe="")} - {""}:
            if key.encode() in said:
                said = said.replace(key.encode(), mask)
        return said

    def _tell(self, passed: Passed) -> None:
        """Tell what passed, without our key."""
        text = self._without_key(passed.text, BLANK)
        head = self._without_key(passed.head.encode(), BLANK).decode()
        self._passed(replace(passed, head=head, text=text))

    def _connect(self, ask: _Ask) -> HttpWire:
        self.dials += 1
        patience = self._patience(ask.number, self._dial_s)
        sock = open_road(
            ask.address,
            patience,
            context=self._tls,
            resolve=beside(self._resolve, self._wake, self.name),
            atlas=self._atlas,
        )
        return HttpWire(ask.address, sock, self._agent, self._tell)

    def _patience(self, number: int, seconds: float) -> Patience:
        def note(kind: str, direction: Literal["sent", "received"], said: bytes) -> None:
            self._note(kind, direction, said, "")

        return Patience(seconds, self._wake_out, lambda: self._given_up(number), note)

    def _given_up(self, number: int) -> bool:
        return self._stopping.is_set() or self._unwanted >= number

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = client_context(self._ca_file)
        return self._context

    def _count(self) -> None:
        """Add what passed since the last count."""
        wire = self._wire
        if wire is not None:
            self.sent_bytes += wire.sent_bytes
            self.received_bytes += wire.received_bytes
            wire.sent_bytes = wire.received_bytes = 0

    def _close(self) -> None:
        self._count()
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()
