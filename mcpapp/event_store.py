"""Keep what was sent on the streams of sessions, for clients that lost one (MCP 2025-11-25, resumability).

In memory, because a session lives in one process. The SDK would share one store among all sessions and asks it by event
id alone, so that one person could read another's events. Here each session has a store of its own, which knows no
other: who may use the session, which the SDK checks, is who may read what was sent in it.
"""

from __future__ import annotations

import secrets
import weakref
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from itertools import count

from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp_types import JSONRPCError, JSONRPCMessage, JSONRPCResponse, jsonrpc_message_adapter

MAXIMUM_EVENTS = 256
"""Of a stream; of more, the oldest are gone."""
MAXIMUM_STREAMS = 64
"""Of a session; beyond, the one that was silent for longest is gone."""
SHARE_OF_A_SESSION = 16
"""One session may take so many parts less than all may take together."""
EVENT_OVERHEAD_BYTES = 200


@dataclass(slots=True)
class _Stream:
    """The events of one stream, numbered; each is a JSON-RPC message, or None for the mark at the beginning."""

    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    first: int = 0
    """The number of the first that is still kept."""
    events: deque[bytes | None] = field(default_factory=deque)
    size: int = 0
    is_over: bool = False
    """The response was sent: nothing follows."""

    def add(self, data: bytes | None) -> str:
        self.events.append(data)
        self.size += _size(data)
        while len(self.events) > MAXIMUM_EVENTS:
            self.size -= _size(self.events.popleft())
            self.first += 1
        return self.id_of(self.first + len(self.events) - 1)

    def id_of(self, number: int) -> str:
        return f"{self.token}.{number}"


_Streams = OrderedDict[str, _Stream]


class EventMemory:
    """What the sessions of a process keep together, and the bound of it."""

    def __init__(self, maximum_bytes: int) -> None:
        self.maximum_bytes = maximum_bytes
        self.size = 0
        self._sessions: dict[int, _Streams] = {}
        self._by_age: OrderedDict[tuple[int, str], None] = OrderedDict()
        self._numbers = count()
        self._gone: deque[int] = deque()

    def add_session(self, events: SessionEvents) -> tuple[int, _Streams]:
        """Make room for a session, which is given up when nobody has its store any more."""
        self._forget_gone()
        number, streams = next(self._numbers), _Streams()
        self._sessions[number] = streams
        weakref.finalize(events, self._gone.append, number)  # in any thread: garbage is collected in all of them
        return number, streams

    def record(self, session: int, stream_id: str, grown_by: int) -> None:
        """Count what was added to a stream, and drop what is oldest until all is within its bounds."""
        self._forget_gone()
        self.size += grown_by
        self._by_age[session, stream_id] = None
        self._by_age.move_to_end((session, stream_id))
        streams = self._sessions[session]
        streams.move_to_end(stream_id)
        while streams and (
            len(streams) > MAXIMUM_STREAMS
            or sum(stream.size for stream in streams.values()) > self.maximum_bytes // SHARE_OF_A_SESSION
        ):
            self.drop(session, next(iter(streams)))
        while self.size > self.maximum_bytes:
            self.drop(*next(iter(self._by_age)))

    def drop(self, session: int, stream_id: str) -> None:
        """Forget a stream; whoever asks for it then finds nothing."""
        del self._by_age[session, stream_id]
        self.size -= self._sessions[session].pop(stream_id).size

    def _forget_gone(self) -> None:
        while self._gone:
            session = self._gone.popleft()
            for stream_id in list(self._sessions[session]):
                self.drop(session, stream_id)
            del self._sessions[session]


class SessionEvents(EventStore):
    """The events of one session.

    An id that is not known, because it is another session's, made up or dropped, replays nothing, and the stream ends
    at once. Of a stream of which only the beginning was dropped, the rest is replayed.
    """

    def __init__(self, memory: EventMemory) -> None:
        self._memory = memory
        self._number, self._streams = memory.add_session(self)

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        """Keep an event and return its id, which cannot be guessed."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.is_over:  # the id of a request that was answered is used again
            self._memory.drop(self._number, stream_id)
            stream = None
        if stream is None:
            stream = self._streams[stream_id] = _Stream()
        data = None if message is None else message.model_dump_json(by_alias=True, exclude_unset=True).encode()
        before = stream.size
        event_id = stream.add(data)
        stream.is_over = isinstance(message, JSONRPCResponse | JSONRPCError) and message.id is not None
        self._memory.record(self._number, stream_id, stream.size - before)
        return event_id

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        """Send what came after an event of this session; return its stream if more may follow on it."""
        token, _, digits = last_event_id.rpartition(".")
        stream_id = next((name for name, stream in self._streams.items() if stream.token == token), None)
        if stream_id is None or not (digits.isascii() and digits.isdigit() and len(digits) <= 12):
            return None
        stream, number = self._streams[stream_id], int(digits)
        # One at a time and anew: others come while these are sent.
        while (position := max(number + 1 - stream.first, 0)) < len(stream.events):
            number = stream.first + position
            if (data := stream.events[position]) is not None:
                message = jsonrpc_message_adapter.validate_json(data)
                await send_callback(EventMessage(message, stream.id_of(number)))
        # On one that is over the SDK would wait for ever.
        return stream_id if self._streams.get(stream_id) is stream and not stream.is_over else None


def _size(data: bytes | None) -> int:
    return EVENT_OVERHEAD_BYTES + len(data or b"")
