"""What was rendered for replays: made once, and never more of it kept than is allowed."""

from hub.live.rendered import Rendered
from hub.live.rooms import RoomKey
from hub.store.log import Entry

MOST = 100_000


def key(name: str) -> RoomKey:
    return RoomKey("app", (name,), (), "ws", framed=True)


def entry(n: int, partition: int = 0) -> Entry:
    return Entry(partition, (n, 0), "app", "a.x", "t", f"evt_{n}", "", b'{"n":%d}' % n)


def test_bytes_are_made_once_for_each_room_cursor_and_partition() -> None:
    rendered = Rendered()
    first = rendered.of(key("a.x")).get(entry(1), b"0-1-1-0")
    assert rendered.of(key("a.x")).get(entry(1), b"0-1-1-0") is first
    others = [
        rendered.of(key("a.*")).get(entry(1), b"0-1-1-0"),
        rendered.of(key("a.x")).get(entry(1), b"0-1-2-0"),
        rendered.of(key("a.x")).get(entry(2, partition=1), b"0-1-1-0"),
    ]
    assert len({first, *others}) == 4


def test_what_is_kept_is_bounded_and_all_is_made_again() -> None:
    rendered = Rendered(MOST)
    sizes: set[int] = set()
    for n in range(2000):
        frames = rendered.of(key(f"a.{n % 7}"))
        made = frames.get(entry(n), b"0-1-%x-0" % n)
        assert b'{"n":%d}' % n in made
        sizes.add(rendered.size)
    assert MOST / 2 < max(sizes) <= MOST
    assert rendered.size < MOST
